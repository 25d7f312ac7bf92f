#!/bin/sh
# bench.sh   runs the measurements of bench/ one after another, and prints what they measured as one table
#
# ROWS=burst,sync runs only these (bench/<name>.bench.ts). PEER_REGISTRATOR='command line with {registry}' runs another
# registrator beside ours; {registry} stands for etcd://host:port/services. LAYOUT=registrator measures ours under that command
# line, which writes nothing else. Each program has flags of its own: see
# node bench/<name>.bench.ts --help. Exit status: 1 where a must of the table is not held, 3 where one could not be measured.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$top"
# What the caller set for a real host must not reach what is measured.
unset DOCKER_HOST DOCKER_CONTEXT STORE
sh deploy/test-packages.sh
sh deploy/packages.sh
PATH=$top/node_modules/.bin:$PATH

rows=${ROWS:-latency,kill,burst,sync,resync,idle,memory,hosts,consul,volumes,data-path,guard}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
status=0
number=0
began=$(clock)
before=$(node bench/support/yardstick.ts)
for name in $(echo "$rows" | tr , ' '); do
  [ -e "bench/$name.bench.ts" ] || fail "ROWS names $name, but there is no bench/$name.bench.ts"
done
for name in $(echo "$rows" | tr , ' '); do
  say "$name"
  began_one=$(clock)
  number=$((number + 1))
  one=0
  node "bench/$name.bench.ts" --json >"$results/$number" || one=$?
  [ "$one" -le "$status" ] || status=$one
  note "$(seconds_since "$began_one")"
done
say ''
node bench/support/table.ts "$results"
say "yardstick $before ms before, $(node bench/support/yardstick.ts) ms after (bench/support/yardstick.ts: how fast the machine was)"
say "$(nproc) cores, load average now $(cut -d' ' -f1-3 /proc/loadavg), in $(seconds_since "$began")"
exit "$status"
