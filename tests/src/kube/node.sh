# A node's first process. It is started in a network namespace by
#   unshare --mount --pid --uts --ipc --fork --kill-child bash -c "$(cat node.sh)" node.sh NAME DISK CGROUP BINS
# makes a machine of what it finds, and stays as the init that keeps the node's services running and reaps what is left
# to it. Killing the unshare ends everything here at once, as a power failure does; what is below DISK survives it.
#
#   /       this machine's own files under a layer of the node's own (DISK/upper): whatever the node writes, this
#           machine never sees; /var is the node's alone (DISK/var), since containerd can't put an overlay upon one
#   /run    empty at each start
#   /node   DISK: what the test wrote for the node (configuration, images), and the services' logs
#   /kube   BINS: the programs of Kubernetes
set -eu
name=$1 disk=$2 cgroup=$3 bins=$4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# -- Its files ---------------------------------------------------------------------------------------------------------

root=$disk/root
mkdir -p "$root" "$disk/work" "$disk/var/lib" "$disk/var/log" "$disk/var/tmp" "$disk/log" "$disk/images"
[ -e "$disk/var/run" ] || ln -s /run "$disk/var/run"
new=
[ -e "$disk/upper" ] || new=yes
mkdir -p "$disk/upper"
mount -t overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" node "$root"
# Should this machine be a node itself, ours is not to take it for its own past.
[ -z "$new" ] || rm -rf "$root/etc/cni" "$root/etc/kubernetes" "$root/opt/cni"
mkdir -p "$root/node" "$root/kube" "$root/.old"
mount --bind "$disk" "$root/node"
mount --bind "$disk/var" "$root/var"
mount --bind "$bins" "$root/kube"
mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
# A new sysfs shows the node's own interfaces; the cgroup tree, which an `ip netns exec` would hide, belongs on it.
mount -t sysfs sys "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t bpf bpf "$root/sys/fs/bpf" 2>/dev/null || true
# The kubelet sets these for the whole machine. It gets files of the node's own to write them to.
for key in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    [ -e "/proc/sys/$key" ] || continue
    mkdir -p "$root/run/sysctl/${key%/*}"
    cat "/proc/sys/$key" >"$root/run/sysctl/$key"
    mount --bind "$root/run/sysctl/$key" "$root/proc/sys/$key"
done

# -- Its cgroup --------------------------------------------------------------------------------------------------------

# Each kubelet needs a root of its own, or they end each other's pods. Every process outside is this cgroup's equal by
# default and takes as much of a processor as all pods of a node: where a few are busy, nobody in it would get to run for
# seconds, agents that their kubelet asks for life among them. A real node has no such neighbours.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p "/sys/fs/cgroup/$cgroup"
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
        echo "+$controller" >"/sys/fs/cgroup/$cgroup/cgroup.subtree_control" || true
    done
    [ ! -e "/sys/fs/cgroup/$cgroup/cpu.weight" ] || echo 2000 >"/sys/fs/cgroup/$cgroup/cpu.weight"
else
    for base in /sys/fs/cgroup/*/; do
        [ "$base" != /sys/fs/cgroup/unified/ ] || continue
        mkdir -p "$base$cgroup"
        for file in cpuset.cpus cpuset.mems; do
            [ ! -e "$base$file" ] || cat "$base$file" >"$base$cgroup/$file"
        done
        [ ! -e "$base$cgroup/cpu.shares" ] || echo 20480 >"$base$cgroup/cpu.shares"
    done
fi

# -- From here on it is a machine --------------------------------------------------------------------------------------

hostname "$name"
cd "$root"
pivot_root . .old
cd /
umount --lazy /.old
# Pods ask for shared or slave mounts.
mount --make-rshared /

# Keeps a service running, as a service manager would.
keep() {
    local log=/node/log/$1.log
    shift
    while :; do
        "$@" >>"$log" 2>&1 || printf 'node: %s ended: %s\n' "$1" "$?" >>"$log"
        sleep 0.5
    done
}

keep containerd containerd --config /node/containerd.toml &
until ctr version >/dev/null 2>&1; do sleep 0.05; done
# Once; later the disk has them.
for image in /node/images/*.tar; do
    [ -e "$image" ] || continue
    ctr -n k8s.io images import "$image" >/dev/null
    rm "$image"
done
[ ! -e /node/kube-proxy.yaml ] || keep kube-proxy /kube/kube-proxy --config /node/kube-proxy.yaml \
    --hostname-override "$name" &
keep kubelet /kube/kubelet --config /node/kubelet.yaml --kubeconfig /node/kubeconfig \
    --hostname-override "$name" $(cat /node/kubelet.flags) &
wait
