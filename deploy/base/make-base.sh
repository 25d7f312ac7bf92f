#!/bin/sh
# make-base.sh OUT.tar [SUITE]   write a minimal Debian root file system (default: trixie) for `docker import`
#
# Our images build on debian:trixie-slim. Where that can neither be found nor pulled (no registry within reach), this makes
# the same thing from the apt sources that this machine uses already:
#     deploy/base/make-base.sh base.tar
#     docker import --change 'CMD ["bash"]' base.tar openebs/base:trixie
#     docker build --network host --build-arg BASE=openebs/base:trixie …
# Needs root and mmdebstrap. OPENEBS_DEBIAN_URI names a Debian archive to use instead of this machine's own sources.
set -eu

fail() { echo "make-base: error: $*" >&2; exit 1; }

out=${1:?usage: make-base.sh OUT.tar [SUITE]}
suite=${2:-trixie}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
command -v mmdebstrap >/dev/null || fail 'mmdebstrap is missing: apt-get install mmdebstrap'
[ -e "$keyring" ] || fail "$keyring is missing: apt-get install debian-archive-keyring"

# The machine's own sources, moved to the wanted suite. apt reads both of its formats itself: we only ask it what it found.
sources() {
  if [ -n "${OPENEBS_DEBIAN_URI:-}" ]; then
    echo "deb [signed-by=$keyring] $OPENEBS_DEBIAN_URI $suite main"
    return
  fi
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  # shellcheck disable=SC2016 # $(REPO_URI) is for apt to fill in
  apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    while read -r uri release component; do
      [ "$component" = main ] || continue
      case $release in
        "$codename" | "$codename-updates" | "$codename-security")
          echo "deb [signed-by=$keyring] $uri $suite${release#"$codename"} main" ;;
      esac
    done | sort -u
}

lines=$(sources)
[ -n "$lines" ] || fail 'no Debian source in this machine'\''s apt configuration: set OPENEBS_DEBIAN_URI'

# An archive that is a snapshot of the past needs its dates left unchecked, here and in every later build on this base.
dates=$(apt-config dump | grep -E '^Acquire::Check-(Valid-Until|Date) ' || true)

# The dpkg options stay in the image too: what a Dockerfile installs later comes without documentation as well. Licences stay.
# shellcheck disable=SC2016 # $1 is for mmdebstrap to fill in
echo "$lines" | mmdebstrap --quiet --format=tar --variant=minbase \
  --include=ca-certificates \
  --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt="$dates" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/hostname' \
  "$suite" "$out.part" -
mv "$out.part" "$out"
