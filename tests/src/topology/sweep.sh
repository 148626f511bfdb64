# Undoes one ledger: $1 is its directory, $2 the one on disk. Kills only what lives in the namespaces that the ledger
# names.
cd "$1" || exit 0
for entry in netns/*; do
    name=${entry#netns/}
    [ -e "/run/netns/$name" ] || continue
    ip netns pids "$name" 2>/dev/null | while read -r pid; do kill -9 "$pid" 2>/dev/null; done
    ip netns del "$name" 2>/dev/null
done
# A cluster's node has a cgroup named like its namespace in every hierarchy. What ran in it takes a moment to go.
for entry in netns/*; do
    for cgroup in "/sys/fs/cgroup/${entry#netns/}" "/sys/fs/cgroup/"*"/${entry#netns/}"; do
        tries=0
        while [ -d "$cgroup" ] && [ $tries -lt 100 ]; do
            find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
            tries=$((tries + 1))
        done
    done
done
cd / && rm -rf --one-file-system "$2" "$1"
