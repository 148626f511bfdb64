#!/usr/bin/env bash
# vm.sh [--share DIR]… [--env NAME]… [--] COMMAND [ARGUMENT]…
#
# Runs COMMAND, in the current directory, inside a virtual machine with Debian's generic kernel and this machine's own
# files: for what the running kernel lacks (ipip, wireguard, netem, …). Programs, libraries and our build are simply
# there; whatever the command writes goes to memory and is gone at the end, except below a shared DIR.
#
#   --share DIR   the command may write to this directory of the host
#   --env NAME    the command sees this environment variable
#
# CORDUROY_VM_MEMORY (MiB, 2048), CORDUROY_VM_CPUS (1), CORDUROY_VM_TIMEOUT (s, 900), CORDUROY_VM_CONSOLE=1 (show the
# kernel's messages), CORDUROY_VM_SUITE (bullseye, bookworm, trixie: the kernel of that Debian; without it the one that
# this machine would install). The exit status is the command's; 124 when time is up, 125 when the machine never ran it.
#
# How it works. The processor is emulated (TCG), since nested virtualisation can't be counted on. The kernel comes from
# Debian's archive once and is kept in the user's cache, unpacked: QEMU starts a bare ELF image directly (PVH), which
# saves the guest from unpacking it at a tenth of the speed. The host's root is a read-only 9p share under an overlay
# in memory. A second share, the job's directory, carries the command in and its output and status back. There is no
# network but loopback.
set -euo pipefail

give_up() { printf 'vm: %s\n' "$*" >&2; exit 125; }

shares=() names=(HOME PATH)
while [ $# -gt 0 ]; do
    case $1 in
        --share) shares+=("$(realpath -- "$2")"); shift 2 ;;
        --env) names+=("$2"); shift 2 ;;
        --) shift; break ;;
        -*) give_up "unknown option $1" ;;
        *) break ;;
    esac
done
[ $# -gt 0 ] || give_up "no command given"
[ "$(id -u)" = 0 ] || give_up "needs root: the guest reads this machine's files as they are"
for tool in qemu-system-x86_64 busybox cpio depmod modprobe xz; do
    command -v "$tool" >/dev/null || give_up "there is no $tool: make setup installs it"
done

suite=${CORDUROY_VM_SUITE:-}
home=${XDG_CACHE_HOME:-$HOME/.cache}/corduroy/vm
cache=$home/${suite:-debian}

# -- The kernel, its modules and the first stage: made once ----------------------------------------------------------

# What apt is told to see nothing but the named Debian.
elsewhere() { # DIRECTORY
    local mirror=http://deb.debian.org keys=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$1/lists/partial" "$1/archives/partial"
    printf 'deb [signed-by=%s] %s/debian %s main\n' "$keys" "$mirror" "$suite" >"$1/sources"
    printf 'deb [signed-by=%s] %s/debian-security %s-security main\n' "$keys" "$mirror" "$suite" >>"$1/sources"
    apt+=(-o "Dir::Etc::sourcelist=$1/sources" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$1/lists")
    apt+=(-o "Dir::Cache=$1")
    apt-get "${apt[@]}" update >&2 || give_up "can't read what Debian $suite has"
}

fetch_kernel() {
    # apt wants to drop privileges for a download, and can't in a directory of root's.
    local package apt=(-qq -o APT::Sandbox::User=root)
    [ -z "$suite" ] || elsewhere "$1/apt"
    package=$(apt-cache "${apt[@]:1}" depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] || give_up "apt does not know linux-image-amd64: apt-get update"
    (cd "$1" && apt-get "${apt[@]}" download "$package") >&2 || give_up "can't download $package"
}

# The compressed image lies somewhere inside the boot wrapper: try each place that looks like its beginning.
unpack_kernel() {
    local offset
    for offset in $(LC_ALL=C grep -abo $'\xfd7zXZ' "$1" | cut -d: -f1); do
        tail -c "+$((offset + 1))" "$1" | xz -dc --single-stream >"$2" 2>/dev/null || true
        [ "$(head -c 4 "$2" | tail -c 3)" = ELF ] && return
    done
    cp "$1" "$2"
}

first_stage() {
    cat <<'GUEST'
#!/bin/busybox sh
# In the initramfs: mount the host's root, lay memory over it, go there.
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /host /top
$bb mount -t proc none /proc
$bb mount -t devtmpfs none /dev
for module in /modules/*; do $bb insmod $module; done
p9=trans=virtio,version=9p2000.L,msize=512000
$bb mount -t 9p -o ro,cache=loose,$p9 root /host
$bb mount -t tmpfs -o size=80% none /top
$bb mkdir /top/upper /top/work /top/all
$bb mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work none /top/all
$bb mkdir -p /top/all/.job
$bb mount -t 9p -o cache=none,$p9 job /top/all/.job
$bb umount /proc
$bb mount -o move /dev /top/all/dev
exec $bb switch_root /top/all /bin/bash /.job/second-stage
$bb poweroff -f
GUEST
}

prepare() {
    local work deb version count=10
    work=$cache.new
    rm -rf "$work"
    mkdir -p "$work/tree" "$work/initramfs/bin" "$work/initramfs/modules"
    fetch_kernel "$work"
    deb=$(ls "$work"/*.deb)
    dpkg-deb --extract "$deb" "$work/tree"
    # Debian 13 has them where /lib leads to.
    [ -d "$work/tree/lib" ] || ln -s usr/lib "$work/tree/lib"
    version=$(ls "$work/tree/lib/modules")
    # Not every kernel unpacks its modules itself.
    find "$work/tree/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$work/tree" "$version"
    unpack_kernel "$work/tree/boot/vmlinuz-$version" "$work/kernel"
    cp "$(command -v busybox)" "$work/initramfs/bin/busybox"
    while read -r _ module _; do
        cp "$module" "$work/initramfs/modules/$count-${module##*/}"
        count=$((count + 1))
    done < <(modprobe -d "$work/tree" -S "$version" --show-depends -a virtio_pci 9pnet_virtio 9p overlay |
        grep ^insmod | awk '!seen[$2]++')
    first_stage >"$work/initramfs/init"
    chmod 755 "$work/initramfs/init"
    (cd "$work/initramfs" && find . | cpio --quiet -o -H newc) >"$work/initrd"
    rm -rf "$deb" "$work/initramfs" "$work/tree/boot" "$work/apt"
    rm -rf "$cache"
    mv "$work" "$cache"
}

mkdir -p "$home"
exec 9>"$home/lock"
flock 9
# The script is part of what was made: a changed one makes it anew.
stamp=$(cksum <"$0")
if [ "$(cat "$cache/stamp" 2>/dev/null)" != "$stamp" ]; then
    prepare
    printf '%s\n' "$stamp" >"$cache/stamp"
fi
exec 9>&-

# -- This run --------------------------------------------------------------------------------------------------------

job=$(mktemp -d)
machine=
finish() {
    [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
    rm -rf "$job"
}
trap finish EXIT
trap 'exit 130' INT TERM
: >"$job/stdout"
: >"$job/stderr"

{
    for name in "${names[@]}"; do
        [ -v "$name" ] && printf 'export %s=%q\n' "$name" "${!name}"
    done
    printf 'cd %q || exit 125\nexec' "$PWD"
    printf ' %q' "$@"
} >"$job/command"

devices=() number=0
share() { # TAG DIRECTORY OPTIONS
    devices+=(-fsdev "local,id=share$number,path=$2,security_model=none,multidevs=remap$3")
    devices+=(-device "virtio-9p-pci,fsdev=share$number,mount_tag=$1")
    number=$((number + 1))
}
share root / ,readonly=on
share job "$job" ""

{
    cat <<'GUEST'
# In the host's own files: what an init would mount, then the command, then power off.
mount -t proc none /proc
mount -t sysfs none /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mkdir -p /run/lock /run/netns
mount -t cgroup2 none /sys/fs/cgroup
mount -t bpf none /sys/fs/bpf 2>/dev/null
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
GUEST
    printf 'mkdir -p /lib/modules; mount --bind %q /lib/modules\n' "$cache/tree/lib/modules"
    for directory in ${shares[@]+"${shares[@]}"}; do
        share "extra$number" "$directory" ""
        printf 'mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap extra%d %q\n' \
            "$((number - 1))" "$directory"
    done
    cat <<'GUEST'
bash /.job/command </dev/null >>/.job/stdout 2>>/.job/stderr
echo $? >/.job/status
sync
echo o >/proc/sysrq-trigger
read -r _ </dev/zero
GUEST
} >"$job/second-stage"

quiet="quiet loglevel=3"
[ -z "${CORDUROY_VM_CONSOLE:-}" ] || quiet=
timeout --kill-after=5 "${CORDUROY_VM_TIMEOUT:-900}" qemu-system-x86_64 \
    -nodefaults -no-user-config -display none -no-reboot -machine pc -accel tcg,thread=multi -cpu max \
    -m "${CORDUROY_VM_MEMORY:-2048}" -smp "${CORDUROY_VM_CPUS:-1}" \
    -kernel "$cache/kernel" -initrd "$cache/initrd" -serial "file:$job/console" -device virtio-rng-pci \
    -append "console=ttyS0 panic=-1 $quiet mitigations=off tsc=reliable no_timer_check nokaslr cryptomgr.notests rcupdate.rcu_expedited=1" \
    "${devices[@]}" </dev/null &
machine=$!

# What the command says, as it says it, to the end.
tail -q -n +1 -f -s 0.2 --pid="$machine" "$job/stdout" &
out=$!
tail -q -n +1 -f -s 0.2 --pid="$machine" "$job/stderr" >&2 &
err=$!
status=0
wait "$machine" || status=$?
machine=
wait "$out" "$err" || true
[ -z "${CORDUROY_VM_CONSOLE:-}" ] || cat "$job/console" >&2

[ ! -s "$job/status" ] || exit "$(cat "$job/status")"
[ "$status" != 124 ] || { printf 'vm: killed after %s s\n' "${CORDUROY_VM_TIMEOUT:-900}" >&2; exit 124; }
tail -n 20 "$job/console" >&2
give_up "the guest never ran the command (qemu ended with $status)"
