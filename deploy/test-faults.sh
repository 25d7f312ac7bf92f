#!/bin/sh
# test-faults.sh [FILE...]   breaks real engines, etcds, sidecars and plugins in every way that is known to happen, and compares
#                            the registry with the host after each: all files of test/faults, or the named ones
#
# Every fault is tried with several seeds, which decide what else happens, in what order, and when: FAULT_SEEDS=n (3) for 1 to
# n, SEEDS=4,7 for these; FAULT='words' for those faults alone whose name has them. What fails says how to see it again.
# FAULT_TARGET=etcd|skydns2|consul|consulkv|zookeeper: the sidecar registers there, under the command line of
# gliderlabs/registrator, and is broken in all ways that concern it, with the server it writes to.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
if [ $# = 0 ] && [ -n "${FAULT_TARGET:-}" ]; then
  for name in target sidecar engine bursts; do set -- "$@" "$top/test/faults/$name.test.ts"; done
elif [ $# = 0 ]; then
  for file in "$top"/test/faults/*.test.ts; do
    case $file in */target.test.ts) ;; *) set -- "$@" "$file" ;; esac
  done
fi
# A file takes up to three minutes a seed.
seeds=${FAULT_SEEDS:-3}
[ -z "${SEEDS:-}" ] || seeds=$(echo "$SEEDS" | tr , '\n' | wc -l)
# Crash points and deaths of a host alone need plugin and images made ready.
case $* in
  *crash-points* | *host-death*) ;;
  *) export TEST_TEMPLATE=no ;;
esac
exec sh "$top/deploy/test.sh" "--timeout=$((seeds * 180 + 300 + ${HOST_DEATHS:-20} * 20))" "$@"
