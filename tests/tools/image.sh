#!/usr/bin/env bash
# image.sh NAME:TAG OUT.tar FILE…: a container image of nothing but these static programs, in /usr/local/bin, the first
# of which it runs, as one archive that containerd (`ctr images import`), podman and docker (`load`) all read: an OCI layout with docker's
# manifest.json beside it. The same programs make the same archive, byte for byte.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: image.sh NAME:TAG OUT.tar FILE..." >&2; exit 2; }
name=$1 out=$2 entrypoint=$(basename "$3")
shift 2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/image/blobs/sha256
mkdir -p "$blobs" "$work/tree/usr/local/bin"

archive() { # DIRECTORY: its content as a tar that depends on nothing else
    tar --directory "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar -cf - .
}
keep() { # stdin becomes a blob; prints its digest
    cat >"$work/blob"
    local digest
    digest=$(sha256sum "$work/blob" | cut -d' ' -f1)
    mv "$work/blob" "$blobs/$digest"
    echo "$digest"
}
descriptor() { # TYPE DIGEST
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%d' "$1" "$2" \
        "$(stat -c %s "$blobs/$2")"
}

for file in "$@"; do
    # An image of nothing else has no libraries: a program that wants some would not start.
    if readelf --program-headers "$file" 2>/dev/null | grep -q 'Requesting program interpreter'; then
        echo "image.sh: $file is not static: it would not start in an image of nothing else" >&2
        exit 1
    fi
    install -m 0755 "$file" "$work/tree/usr/local/bin/"
done
case $(uname -m) in
x86_64) architecture=amd64 ;;
aarch64) architecture=arm64 ;;
*) architecture=$(uname -m) ;;
esac

layer=$(archive "$work/tree" | keep)
config=$(keep <<END
{"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:00Z","config":{"Entrypoint":["/usr/local/bin/$entrypoint"],"Env":["PATH=/usr/local/bin"],"Labels":{"org.opencontainers.image.title":"$entrypoint","org.opencontainers.image.licenses":"Apache-2.0"}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"1970-01-01T00:00:00Z","created_by":"image.sh"}]}
END
)
manifest=$(keep <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":$(descriptor config.v1+json "$config")},"layers":[$(descriptor layer.v1.tar "$layer")}]}
END
)
cat >"$work/image/index.json" <<END
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[$(descriptor manifest.v1+json "$manifest"),"platform":{"architecture":"$architecture","os":"linux"},"annotations":{"io.containerd.image.name":"$name","org.opencontainers.image.ref.name":"${name##*:}"}}]}
END
echo '{"imageLayoutVersion":"1.0.0"}' >"$work/image/oci-layout"
cat >"$work/image/manifest.json" <<END
[{"Config":"blobs/sha256/$config","RepoTags":["$name"],"Layers":["blobs/sha256/$layer"]}]
END
mkdir -p "$(dirname "$out")"
archive "$work/image" >"$out.unfinished"
mv "$out.unfinished" "$out"
echo "$name in $out, $(stat -c %s "$out" | numfmt --to=iec-i --suffix=B)"
