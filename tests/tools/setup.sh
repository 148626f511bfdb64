#!/usr/bin/env bash
# setup.sh [kube]: installs what building and testing need on Debian 12, as root or through sudo; with `kube` also what
# the test cluster needs. Quick when all of it is there.
# No daemon is started: tests start their own, in network namespaces.
set -euo pipefail

packages=(
    # to build
    gcc libc6-dev git make
    # other makers' BGP daemons, to talk to
    bird2 frr gobgpd openbgpd exabgp
    # networks and what is measured on them
    conntrack containernetworking-plugins iperf3 iproute2 iputils-ping netcat-openbsd nftables procps tcpdump
    # the virtual machine with Debian's own kernel
    busybox-static cpio kmod qemu-system-x86 xz-utils
    # instruction counts; clocks that jump
    valgrind faketime
)
# to run containers, and to go with them into images; to make certificates
[ "${1:-}" != kube ] || packages+=(containerd curl dash iptables openssl runc)

say() { printf 'setup: %s\n' "$*"; }

missing() {
    local have
    have=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null || true)
    for package in "${packages[@]}"; do
        grep -qx "$package installed" <<<"$have" || printf '%s\n' "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian starts a daemon when it is installed unless this file, which only packages look at, says no.
forbid_starts() {
    guard=/usr/sbin/policy-rc.d
    [ -e "$guard" ] && return
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$guard" >/dev/null
    as_root chmod 755 "$guard"
    trap 'as_root rm -f "$guard"' EXIT
}

mapfile -t wanted < <(missing)
if [ "${#wanted[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || { say "this is no Debian; install by hand: ${wanted[*]}"; exit 1; }
    say "installing ${wanted[*]}"
    forbid_starts
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${wanted[@]}" >/dev/null
    # Nor at the next boot, where this machine has a service manager at all.
    if [ -d /run/systemd/system ]; then
        for service in bird containerd frr gobgpd openbgpd exabgp; do
            [[ " ${wanted[*]} " == *" ${service/bird/bird2} "* ]] && as_root systemctl disable -q "$service" || true
        done
    fi
    mapfile -t wanted < <(missing)
    [ "${#wanted[@]}" -eq 0 ] || { say "still missing: ${wanted[*]}"; exit 1; }
fi

# Rust as its makers ship it: Debian 12 has an older one. The Makefile knows where it goes.
need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../../Cargo.toml")
export PATH=$PATH:$HOME/.cargo/bin
install_rust() {
    local init host
    host=$(uname -m)-unknown-linux-gnu
    say "installing Rust into $HOME/.cargo"
    command -v curl >/dev/null || as_root apt-get -qq install --no-install-recommends -y ca-certificates curl >/dev/null
    init=$(mktemp -d)
    curl --proto '=https' --tlsv1.2 -sSf -o "$init/rustup-init" \
        "https://static.rust-lang.org/rustup/dist/$host/rustup-init"
    chmod 755 "$init/rustup-init"
    "$init/rustup-init" -q -y --no-modify-path --profile minimal --component clippy,rustfmt
    rm -rf "$init"
}
command -v cargo >/dev/null || install_rust
have=$(cargo --version | awk '{ print $2 }')
if [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
    say "cargo is $have, $need or newer is needed: rustup update stable"
    exit 1
fi
for tool in clippy fmt; do
    cargo "$tool" --version >/dev/null 2>&1 || { say "there is no cargo $tool: rustup component add clippy rustfmt"; exit 1; }
done
