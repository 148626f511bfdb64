#!/usr/bin/env bash
# stage.sh NAME COMMAND…: runs one stage of `make test`, saying what it is and how long it took. With
# CORDUROY_STAGES=FILE the seconds are noted there too, for a table at the end.
set -uo pipefail
name=$1
shift
printf '\n==== %s: %s\n' "$name" "$*"
start=$(date +%s)
"$@"
status=$?
seconds=$(($(date +%s) - start))
verdict=passed
[ "$status" -eq 0 ] || verdict="FAILED ($status)"
printf '==== %s %s in %d s\n' "$name" "$verdict" "$seconds"
printf '%6d  %-10s %s\n' "$seconds" "$name" "$verdict" >>"${CORDUROY_STAGES:-/dev/null}"
exit "$status"
