#!/bin/bash
# zookeeper.sh SUITE   prints the folder with ZooKeeper of a Debian suite (bookworm 3.8.0, trixie 3.9.3), unpacked once:
#                      java/*.jar, and jre/bin/java
#
# OPENEBS_CACHE names another folder than .cache in the repository. The packages are unpacked, not installed. The JRE is of
# this machine's own release, whatever the suite: it needs our libc.
set -euo pipefail

suite=${1:?usage: zookeeper.sh SUITE}
repository=$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)
cache=${OPENEBS_CACHE:-$repository/.cache}
tree=$cache/zookeeper-$suite

# apt of the suite alone, with nothing installed: what is to be downloaded then has all it needs
suite_apt() {
  apt-get -qq -o Dir::Etc::sourcelist="$tree.part/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$tree.part/apt/lists" -o Dir::State::status="$tree.part/apt/status" \
    -o Dir::Cache="$tree.part/apt/cache" -o Dir::Cache::archives="$tree.part/debs" -o Debug::NoLocking=1 \
    -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}

unpack() {
  local deb jre
  rm -rf "$tree" "$tree.part"
  mkdir -p "$tree.part"/{root,java,debs/partial,apt/lists/partial,apt/cache}
  : >"$tree.part/apt/status"
  "$repository/deploy/base/debian-sources.sh" "$suite" release >"$tree.part/apt/sources.list"
  suite_apt update
  suite_apt -y --no-install-recommends --download-only install libzookeeper-java
  for deb in "$tree.part"/debs/*_all.deb; do dpkg -x "$deb" "$tree.part/root"; done
  # not every suite has each of them; without one that is needed the server does not start, and says so
  cp -L "$tree.part/root"/usr/share/java/{zookeeper,zookeeper-jute,slf4j-api,slf4j-simple,netty*,commons-cli,commons-io,jline*,metrics-core,snappy*,log4j-1.2}.jar \
    "$tree.part/java" 2>/dev/null || true
  [ -e "$tree.part/java/zookeeper.jar" ] || { echo "zookeeper: error: no zookeeper.jar in $suite" >&2; exit 1; }
  rm -rf "$tree.part"/root/* "$tree.part"/debs/*.deb
  jre=$(apt-cache depends default-jre-headless | awk '/Depends: openjdk/{print $2; exit}')
  (cd "$tree.part/debs" && apt-get -qq -o APT::Sandbox::User=root download "${jre:?no JRE known: run apt-get update}")
  dpkg -x "$tree.part/debs/$jre"_*.deb "$tree.part/root"
  # its settings are links into /etc
  find "$tree.part/root" -lname '/*' | while read -r link; do
    target=$(readlink "$link")
    [ ! -e "$tree.part/root$target" ] || ln -sfrn "$tree.part/root$target" "$link"
  done
  (cd "$tree.part" && set -- root/usr/lib/jvm/java-*-openjdk-*/bin/java && ln -s "${1%/bin/java}" jre)
  rm -rf "$tree.part"/{debs,apt}
  touch "$tree.part/.complete"
  mv "$tree.part" "$tree"
}

if [ ! -e "$tree/.complete" ]; then
  mkdir -p "$cache"
  (
    flock 9
    [ -e "$tree/.complete" ] || unpack >&2
  ) 9>"$tree.lock"
fi
echo "$tree"
