#!/bin/sh
# test-all.sh   make test, and the end-to-end tests on each other Engine that is supported
set -eu
cd "$(dirname "$0")/.."
status=0
sh deploy/test.sh || status=1
for suite in bullseye trixie forky; do
  echo "=== the Engine of Debian $suite"
  ENGINE_SUITE=$suite sh deploy/test.sh 'test/e2e/*.test.ts' || status=1
done
exit "$status"
