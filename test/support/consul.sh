#!/bin/bash
# consul.sh   gets a Consul agent for tests, and says where its program is
#
# Consul 1.8.7 of Debian bullseye, the only suite that has one, in .cache/consul-1.8.7. Unpacked, not installed; its program needs
# this machine's libc alone. Environment: OPENEBS_CACHE names another folder than .cache. Needs root and mmdebstrap.
set -euo pipefail

repository=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
cache=${OPENEBS_CACHE:-$repository/.cache}
tree=$cache/consul-1.8.7

unpack() {
  rm -rf "$tree" "$tree.part" "$tree.all"
  # shellcheck disable=SC2016 # $1 is for mmdebstrap to fill in
  "$repository/deploy/base/debian-sources.sh" bullseye release |
    mmdebstrap --quiet --mode=root --format=directory --variant=extract --include=consul \
      --aptopt='APT::Install-Recommends "false"' --aptopt="$(apt-config dump | grep -E '^Acquire::Check-' || true)" \
      --setup-hook='cd "$1" && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && for d in bin sbin lib lib64; do ln -s usr/$d $d; done' \
      bullseye "$tree.all" - >&2
  mkdir "$tree.part"
  mv "$tree.all/usr/bin/consul" "$tree.part"
  rm -rf "$tree.all"
  "$tree.part/consul" version >&2
  mv "$tree.part" "$tree"
}

mkdir -p "$cache"
# Test files run side by side. In a subshell: what is started later must not inherit the lock.
(
  flock 9
  [ -x "$tree/consul" ] || unpack
) 9>"$tree.lock"
echo "$tree/consul"
