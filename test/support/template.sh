#!/bin/sh
# template.sh   prints the data root of an Engine that has this clone's plugin (not enabled) and images:
#               .cache/template-<suite>/data, of the Engine of ENGINE_SUITE (engine.sh)
#
# Test hosts start from a copy of it, which takes a second where making it takes half a minute. Made anew when the sources of
# plugin or images change.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=${OPENEBS_CACHE:-$top/.cache}
template=$cache/template-${ENGINE_SUITE:-bookworm}
"$here/images.sh" vsm registrator-sidecar registrator-rootfs plugin >&2

exec 9>"$template.lock"
flock 9
wanted=$(cat "$cache/images/vsm.id" "$cache/images/registrator-sidecar.id" "$cache/plugin.made" | sha256sum | cut -c1-12)
if [ "$(cat "$template/made" 2>/dev/null)" != "$wanted" ]; then
  rm -rf "$template"
  mkdir -p "$template/data"
  engine=$(mktemp -d /tmp/oe-tpl.XXXXXX)
  ln -s "$template/data" "$engine/data"
  clean_up() {
    "$here/engine.sh" stop "$engine" 9>&-
    rm -rf "$engine"
  }
  trap clean_up EXIT
  trap 'exit 130' INT TERM
  ENGINE_NET=host "$here/engine.sh" start "$engine" 9>&- >&2
  export DOCKER_HOST="unix://$engine/docker.sock"
  docker load -q -i "$cache/images/vsm.tar" >&2
  docker load -q -i "$cache/images/registrator-sidecar.tar" >&2
  docker plugin create openebs "$cache/plugin" >&2
  clean_up
  trap - EXIT
  # made on a host without a bridge: each copy has its own network
  rm -rf "$template/data/network"
  echo "$wanted" >"$template/made"
fi
echo "$template/data"
