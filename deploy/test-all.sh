#!/bin/sh
# test-all.sh   everything: make test, the faults with more seeds and under each kind of registry, the virtual machine, and what needs an Engine on each other one that is supported
set -eu
cd "$(dirname "$0")/.."
status=0
sh deploy/test.sh || status=1
FAULT_SEEDS=${FAULT_SEEDS:-10} sh deploy/test-faults.sh || status=1
for target in etcd skydns2 consul consulkv zookeeper; do
  echo "=== faults under $target://"
  FAULT_TARGET=$target FAULT_SEEDS=${FAULT_SEEDS:-10} sh deploy/test-faults.sh || status=1
done
sh deploy/test-vm.sh || status=1
for suite in bullseye trixie forky; do
  echo "=== the Engine of Debian $suite"
  sh deploy/test-engines.sh "$suite" 'test/integration/*.test.ts' 'test/e2e/*.test.ts' || status=1
  ENGINE_SUITE=$suite sh deploy/test-faults.sh || status=1
done
exit "$status"
