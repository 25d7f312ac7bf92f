#!/bin/sh
# test-packages.sh   has Debian's packages that checks and tests need; says which are missing where it may not install them
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"

packages='mmdebstrap iproute2 procps etcd-server etcd-client tgt libiscsi-bin qemu-system-common qemu-utils qemu-block-extra
  docker-registry docker-compose fio strace e2fsprogs shellcheck libatomic1 faketime bind9-dnsutils'
have docker || packages="$packages docker.io"

missing=
for package in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -z "$missing" ]; then
  :
elif can_install; then
  # shellcheck disable=SC2086 # a list of words
  step "install$missing" install_quiet $missing
else
  say "! tests of real engines, etcd and targets need root on Debian or Ubuntu, and:$missing; they skip or fail without"
fi
