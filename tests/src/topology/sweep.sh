# Undoes one ledger: $1 is its directory. Kills only what lives in the namespaces that the ledger names.
cd "$1" || exit 0
for entry in netns/*; do
    name=${entry#netns/}
    [ -e "/run/netns/$name" ] || continue
    ip netns pids "$name" 2>/dev/null | while read -r pid; do kill -9 "$pid" 2>/dev/null; done
    ip netns del "$name" 2>/dev/null
done
cd / && rm -rf "$1"
