#!/bin/sh
# debian-sources.sh SUITE [release]   this machine's Debian archive as source lines for SUITE, with its updates and security
#                                     fixes unless only the release is asked for
#
# Taken from the machine's own apt configuration, so what works here (a mirror, a proxy in front) is used for other suites as
# well. OPENEBS_DEBIAN_URI names a Debian archive to use instead.
set -eu

suite=${1:?usage: debian-sources.sh SUITE [release]}
only=${2:-}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

line() { echo "deb [signed-by=$keyring] $1 $2 main"; }

[ -z "${OPENEBS_DEBIAN_URI:-}" ] || { line "$OPENEBS_DEBIAN_URI" "$suite"; exit 0; }

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# apt reads both of its formats (.list, .sources) itself: we only ask it what it found.
# shellcheck disable=SC2016 # $(REPO_URI) is for apt to fill in
lines=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
  while read -r uri release component; do
    [ "$component" = main ] || continue
    case $release${only:+ only} in
      "$codename" | "$codename only" | "$codename-updates" | "$codename-security")
        line "$uri" "$suite${release#"$codename"}" ;;
    esac
  done | sort -u)
[ -n "$lines" ] || { echo "debian-sources: error: no Debian source in apt's configuration: set OPENEBS_DEBIAN_URI" >&2; exit 1; }
echo "$lines"
