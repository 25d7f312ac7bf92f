#!/bin/sh
# test-vm.sh [FILE...]   what needs a kernel and a disk of its own, in a virtual machine: all files of test/vm, or the named ones
#
# Nothing of this machine's kernel is used: qemu emulates the processor. POWER_CUTS=n: how often the power is cut in test/vm/power.test.ts (1).
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
[ "$(uname -m)" = x86_64 ] || fail "the guest is made for x86_64 alone, and this machine is $(uname -m)"

package=qemu-system-x86
if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
  can_install || fail "$package is missing: sudo apt-get install --no-install-recommends $package"
  step "install $package" install_quiet "$package"
fi
[ $# -gt 0 ] || set -- "$top"/test/vm/*.test.ts
# A cut takes up to a minute and a half.
exec sh "$top/deploy/test.sh" --bail "--timeout=$((${POWER_CUTS:-1} * 150 + 1500))" --jobs=1 "$@"
