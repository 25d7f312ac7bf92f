#!/bin/sh
# test.sh [FILE...]   sets up what the tests need, runs them (or the named ones) and counts: N passed, N failed[, N skipped]
#
# test/faults takes long, and is run by test-faults.sh alone; test/vm, by test-vm.sh.
# The tests make their own engines, etcds and targets, away from this machine's: no daemon of the user is asked for anything.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
cd "$top"
# What the caller set for a real host must not reach tests.
unset DOCKER_HOST DOCKER_CONTEXT STORE ETCD_PORT ETCD_PEER_PORT REGISTRATOR_PORT ROOT BASE ETCD_IMAGE

sh deploy/test-packages.sh
step 'npm packages' sh deploy/packages.sh
PATH=$top/node_modules/.bin:$PATH
if is_root && [ "${TEST_TEMPLATE:-yes}" = yes ]; then
  step "images and plugin for tests" sh test/support/template.sh
fi

mkdir -p "$run/log"
report=$run/log/test.tap
[ $# -gt 0 ] || set -- 'test/!(faults|vm)/**/*.test.ts'
began=$(clock)

# A line for each file as it ends; all that it said is in the report.
status=0
{ tap run --disable-coverage --reporter=tap "$@" 2>&1 || echo "# tap ended with status $?"; } | tee "$report" |
  sed -nE -u 's/^ok [0-9]+ - (.*) # time=(.*)$/✓ \1  \2/p; s/^not ok [0-9]+ - (.*) # time=(.*)$/✗ \1  \2/p'

# tap's own count of assertions is its last comment: # { total: 120, pass: 118, fail: 1, skip: 1 }
count() { sed -n "s/^# {.*[{ ]$1: \([0-9]*\).*/\1/p" "$report" | tail -n 1; }
passed=$(count pass) failed=$(count fail) skipped=$(count skip) todo=$(count todo)
if grep -aq '^# tap ended with status' "$report"; then
  status=1
  # What a file says of an error outside of its tests stands where tap was when it came, which may be within another file.
  {
    grep -a -A 15 -E '^[A-Za-z]*Error( \[[A-Z_]+\])?: ' "$report" || true
    grep -a -B 25 -E '^not ok' "$report" || true
    grep -a -A 40 -E '^ +not ok' "$report" || true
  } | head -n 400
  grep -a '^# tap ended with status' "$report"
fi
if grep -aqE '# (SKIP|TODO)' "$report"; then
  say 'skipped:'
  sed -nE 's/^ *(not )?ok [0-9]* ?-? ?(.*) # (SKIP|TODO)(.*)$/  - \2:\4/p' "$report" | sort -u
fi
say "in $(seconds_since "$began")"
skipped=$((${skipped:-0} + ${todo:-0}))
[ -n "$passed" ] || { status=1; say 'tap gave no count: see above'; }
[ "${failed:-0}" = 0 ] || status=1
[ "$status" = 0 ] || [ "${failed:-0}" != 0 ] || failed=1
if [ "$skipped" = 0 ]; then
  say "${passed:-0} passed, ${failed:-0} failed"
else
  say "${passed:-0} passed, ${failed:-0} failed, $skipped skipped"
fi
exit "$status"
