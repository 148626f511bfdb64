# Each target calls one thing. `make test` is all that must hold; it installs what it needs.
# Builds go to the user's cache, so that every checkout shares one.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/corduroy/target

# Where setup puts Rust when there is none.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Each call names the whole workspace, binaries with all targets: cargo picks the features of dependencies by what is
# asked for, and would build most of them again for a package or a kind of target alone.
cargo := cargo
locked := --locked
stage := tests/tools/stage.sh
# Network namespaces need root.
root := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH=$(PATH))
as_root := $(if $(root),CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="$(root)" CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$(root)")
built := CORDUROY_BIN_DIR=$(CARGO_TARGET_DIR)/debug

.PHONY: demo test setup fmt clippy tidy unit sim fuzz examples binaries live interop manifests static where-static static-dev where-static-dev images doctest doc check bench bench-policy \
	mutants kernels kube-bins kube-up kube-down e2e

# Two racks, three nodes, pods, BIRD, GoBGP and a reflector in network namespaces, shown at work. KEEP=1 leaves them up
# until Enter is pressed.
demo: setup binaries
	@$(stage) demo $(root) env $(built) $(CARGO_TARGET_DIR)/debug/demo

test: setup fmt clippy tidy unit sim fuzz examples live e2e doctest doc

# What a change needs before it is shown to anybody: no other maker's daemons, no virtual machine.
check: fmt clippy tidy unit

setup:
	@$(stage) setup tests/tools/setup.sh

fmt:
	@$(stage) fmt $(cargo) fmt --all --check

clippy:
	@$(stage) clippy $(cargo) clippy $(locked) --quiet --workspace --all-targets -- -D warnings

tidy:
	@$(stage) tidy $(cargo) test $(locked) --quiet --workspace --test tidy

unit:
	@$(stage) unit env $(as_root) $(cargo) test $(locked) --quiet --workspace --exclude corduroy-tests --exclude corduroy-tests-datastore --all-targets

# The simulated world: so many seeds, or `make sim SEED=n` for one with its whole log.
SEEDS ?= 700
sim:
	@$(stage) sim env SIM_SEEDS=$(or $(SEED),1..$(SEEDS)) $(cargo) test $(locked) --quiet --workspace --test sim

# Damaged BGP: some tens of thousands of cases, or `make fuzz SEED=n` or SEEDS=n for others.
fuzz: export FUZZ_SEEDS := $(or $(SEED),$(if $(filter command line,$(origin SEEDS)),1..$(SEEDS)))
fuzz:
	@$(stage) fuzz $(cargo) test $(locked) --quiet --workspace --test fuzz

# Runs what needs no peer; `live` runs the others.
examples:
	@$(stage) examples $(cargo) run $(locked) --quiet -p corduroy-bgp --example two_speakers

binaries:
	@$(stage) binaries $(cargo) build $(locked) --quiet --workspace --bins --examples

# What the interoperability tests found is noted, and compared with docs/interop.md.
notes := $(CARGO_TARGET_DIR)/interop.notes

live: binaries
	@rm -f $(notes)
	@$(stage) live env $(as_root) $(built) CORDUROY_INTEROP_NOTES=$(notes) RUST_TEST_THREADS=8 $(cargo) test $(locked) --quiet --workspace --test live
	@$(stage) interop $(CARGO_TARGET_DIR)/debug/interop $(notes)

# Writes docs/interop.md.
interop: setup binaries
	@rm -f $(notes)
	@$(stage) interop env $(as_root) $(built) CORDUROY_INTEROP_NOTES=$(notes) RUST_TEST_THREADS=8 $(cargo) test $(locked) --quiet --workspace --test live interop
	@$(CARGO_TARGET_DIR)/debug/interop $(notes) --write

# Boots the kernels of several distributions and writes docs/kernels.md: a quarter of an hour each.
kernels: setup binaries
	@$(stage) kernels $(root) env $(built) $(CARGO_TARGET_DIR)/debug/kernels --write

# Writes the definitions of our kinds, manifests/base/crds, out of the types in api/src. `make tidy` compares.
manifests: binaries
	@$(stage) manifests $(CARGO_TARGET_DIR)/debug/manifests

# Programs that need no libraries, for images and for hosts of any distribution, and where they are.
target := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
packages := corduroy-agent corduroy-cni corduroy-routereflector corduroy-ctl
programs := $(CARGO_TARGET_DIR)/$(target)/release
static:
	@$(stage) static env RUSTFLAGS="-C target-feature=+crt-static" CARGO_PROFILE_RELEASE_STRIP=debuginfo $(cargo) build $(locked) --release --quiet --target $(target) $(packages:%=-p %) --bins
where-static:
	@echo $(programs)

# The same as they are tested, for images of the test cluster; beside the others, so that neither is built anew.
static_dev := $(CARGO_TARGET_DIR)/$(target)/debug
static-dev:
	@$(stage) static-dev env RUSTFLAGS="-C target-feature=+crt-static" $(cargo) build $(locked) --quiet --target $(target) $(packages:%=-p %) --bins
where-static-dev:
	@echo $(static_dev)

# Container images as archives in $(IMAGES): `ctr -n k8s.io images import FILE`, `podman load -i FILE`.
IMAGES ?= $(CARGO_TARGET_DIR)/images
TAG ?= v$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
images: static
	@tests/tools/image.sh corduroy.dev/agent:$(TAG) $(IMAGES)/agent.tar $(addprefix $(programs)/,corduroy-agent corduroy cordctl)
	@tests/tools/image.sh corduroy.dev/routereflector:$(TAG) $(IMAGES)/routereflector.tar $(addprefix $(programs)/,corduroy-routereflector cordctl)

doctest:
	@$(stage) doctest $(cargo) test $(locked) --quiet --workspace --doc

doc:
	@$(stage) doc env RUSTDOCFLAGS="-D warnings" $(cargo) doc $(locked) --quiet --workspace --no-deps

# The programs of a Kubernetes cluster, from source: minutes the first time, nothing later.
kube-bins:
	@$(stage) setup tests/tools/setup.sh kube
	@$(stage) kube-bins tests/tools/kube-bins.sh

# A cluster of real components in network namespaces, to look at: NODES of them, with STAND_IN=1 on Debian's CNI plugins.
NODES ?= 2
kube-up: kube-bins binaries
	@$(root) env STAND_IN=$(STAND_IN) $(CARGO_TARGET_DIR)/debug/kube up $(NODES)

kube-down:
	@$(root) $(CARGO_TARGET_DIR)/debug/kube down

# Tests on such clusters.
e2e: kube-bins binaries static-dev
	@$(stage) e2e env $(as_root) $(built) CORDUROY_STATIC_DIR=$(static_dev) RUST_TEST_THREADS=2 $(cargo) test $(locked) --quiet --workspace --test e2e --test datastore

# Plants bugs, one at a time, and shows that the test named with each notices. MUTANTS="one two" picks some.
mutants: setup
	@$(stage) mutants $(root) tests/tools/mutants.sh $(MUTANTS)

# Medians into docs/benchmarks.md; ARGS="one --runs 3" measures one scenario without writing.
ARGS ?= --write
bench bench-policy: kube-bins static
	@$(stage) build $(cargo) build $(locked) --release --quiet --workspace --bins
	@$(stage) bench $(root) env CORDUROY_BIN_DIR=$(CARGO_TARGET_DIR)/release CORDUROY_STATIC_DIR=$(programs) $(CARGO_TARGET_DIR)/release/bench $(scenarios) $(ARGS)

# What policies cost, and nothing else.
bench-policy: scenarios = policy policy-endpoints policy-count policy-path policy-cni
