#!/bin/sh
# make-base.sh OUT.tar [SUITE]   write a minimal Debian root file system (default: trixie) for `docker import`
#
# Our images build on debian:trixie-slim. Where that can neither be found nor pulled (no registry within reach), this makes
# the same thing from the Debian archive that this machine uses already:
#     deploy/base/make-base.sh base.tar
#     docker import --change 'CMD ["bash"]' base.tar openebs/base:trixie
#     docker build --network host --build-arg BASE=openebs/base:trixie …
# Needs root and mmdebstrap.
set -eu

fail() { echo "make-base: error: $*" >&2; exit 1; }

out=${1:?usage: make-base.sh OUT.tar [SUITE]}
suite=${2:-trixie}
command -v mmdebstrap >/dev/null || fail 'mmdebstrap is missing: apt-get install mmdebstrap'
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || fail 'apt-get install debian-archive-keyring'
sources=$("$(dirname "$0")/debian-sources.sh" "$suite")

# An archive that is a snapshot of the past needs its dates left unchecked, here and in every later build on this base.
dates=$(apt-config dump | grep -E '^Acquire::Check-(Valid-Until|Date) ' || true)

# The dpkg options stay in the image too: what a Dockerfile installs later comes without documentation as well. Licences stay.
# shellcheck disable=SC2016 # $1 is for mmdebstrap to fill in
echo "$sources" | mmdebstrap --quiet --format=tar --variant=minbase \
  --include=ca-certificates \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt="$dates" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname' \
  "$suite" "$out.part" -
mv "$out.part" "$out"
