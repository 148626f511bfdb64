#!/usr/bin/env bash
# mutants.sh [NAME…]: shows that the tests notice. Each tests/mutants/*.patch plants one bug and names, in its header,
# the test that must turn red of it:
#
#   What: MED is compared across neighbour ASes.
#   Red: -p corduroy-bgp --lib decide::tests::med_is_not_compared_across_neighbour_ases
#
# "Red" is what `cargo test` is given. All named tests must be green first; then each patch is applied to a copy of the
# sources, its test is built (a bug that does not compile proves nothing), must fail, and the patch is taken back. A
# patch that no longer applies is a failure. NAME picks patches by file name. Tests with sockets or namespaces need root.
set -uo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
scratch=${CARGO_TARGET_DIR:-$root/target}/mutants
export CARGO_TARGET_DIR=$scratch/target RUST_BACKTRACE=0
unset CORDUROY_BIN_DIR CORDUROY_STATIC_DIR CORDUROY_INTEROP_NOTES
log=$scratch/log
mkdir -p "$scratch"
exec 9>"$scratch/lock"
flock -n 9 || { echo "mutants: another run holds $scratch"; exit 1; }

header() { sed -n "s/^$1: //p" "$2" | head -n 1; }

# What git tracks or would: an edited tree is tried as it is.
rm -rf "$scratch/tree"
mkdir -p "$scratch/tree"
git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from=- 2>/dev/null |
    tar --extract --directory="$scratch/tree"
cd "$scratch/tree" || exit 1
# git apply works on this tree alone, not on the repository around it.
export GIT_CEILING_DIRECTORIES=$scratch

# Times come along, so that only what changed is built again; but what a former run has patched looks unchanged then,
# while what was built of it has the bug.
git apply --numstat "$root"/tests/mutants/*.patch | cut -f 3 | xargs -r touch --no-create

if [ $# -gt 0 ]; then
    patches=()
    for name in "$@"; do patches+=("$root/tests/mutants/${name%.patch}.patch"); done
else
    patches=("$root"/tests/mutants/*.patch)
fi

# cargo test ARGUMENTS… NAME, one test by its whole name. 0 = passed, 1 = failed, 2 = it could not be asked.
ask() {
    local arguments=("${@:1:$#-1}") name=${*: -1} status
    cargo test --locked --quiet "${arguments[@]}" --no-run >"$log" 2>&1 || return 2
    # A live test first builds the programs it starts.
    timeout 1200 cargo test --locked --quiet "${arguments[@]}" -- --exact "$name" >"$log" 2>&1
    status=$?
    grep -q "1 passed" "$log" && [ $status -eq 0 ] && return 0
    grep -q "0 passed; 1 failed" "$log" || [ $status -eq 124 ] && return 1
    return 2
}

failed=0
declare -A green
printf '%-44s %-9s %5s  %s\n' mutant verdict s "test that notices"
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    red=$(header Red "$patch")
    read -ra words <<<"$red"
    start=$SECONDS
    if [ ${#words[@]} -lt 3 ] || [ -z "$(header What "$patch")" ]; then
        verdict="no header"
    elif ! git apply --check "$patch" 2>"$log"; then
        verdict=stale
    else
        if [ -z "${green[$red]:-}" ]; then
            ask "${words[@]}"
            case $? in 0) green[$red]=yes ;; 1) green[$red]="not green" ;; *) green[$red]="no test" ;; esac
        fi
        if [ "${green[$red]}" = yes ]; then
            git apply "$patch"
            ask "${words[@]}"
            case $? in 0) verdict=survived ;; 1) verdict=red ;; *) verdict="no build" ;; esac
            git apply --reverse "$patch" || exit 1
        else
            verdict=${green[$red]}
        fi
    fi
    printf '%-44s %-9s %5d  %s\n' "$name" "$verdict" $((SECONDS - start)) "$red"
    if [ "$verdict" != red ]; then
        failed=$((failed + 1))
        sed 's/^/    /' "$log" | tail -n 15
    fi
done
[ "$failed" -eq 0 ] || { echo "$failed of ${#patches[@]} mutants do not turn their test red"; exit 1; }
echo "all ${#patches[@]} mutants turn their test red"
