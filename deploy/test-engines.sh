#!/bin/sh
# test-engines.sh SUITE FILE...   runs test files on the Engine of a Debian suite: bullseye (20.10.5), bookworm (20.10.24, that of
#                                 make test), trixie (26.1), forky (28.5). Ends as test.sh does: N passed, N failed
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
suite=$1
shift
# Only storage needs plugin and images made ready; what is registered needs an Engine alone.
case $* in
  *test/e2e/* | *test/vsm/*) ;;
  *) export TEST_TEMPLATE=no ;;
esac
ENGINE_SUITE=$suite exec sh deploy/test.sh "$@"
