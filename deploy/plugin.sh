#!/bin/sh
# plugin.sh [assemble]   the managed plugin `openebs`, made of this clone, set and enabled; assemble: only build/plugin/
#
# A plugin has no labels: which sources it is made of stands in its description. It is named like the alias that users of the
# published one give it (docker plugin install --alias openebs openebs/registrator), so `-d openebs` works the same.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"
reach_engine
load_settings

build_of() { docker image inspect -f '{{index .Config.Labels "openebs.build"}}' "$1"; }
wanted=$(fingerprint "$(build_of "$rootfs_image")" "$(build_of "$vsm_image")" -- config.json deploy/plugin.sh)
made=${OPENEBS_PLUGIN_BUILD:-$build}
folder=$made/plugin

assemble() {
  [ "$(cat "$made/plugin.made" 2>/dev/null)" != "$wanted" ] || return 0
  rm -rf "$folder" "$made/plugin.made"
  mkdir -p "$folder/rootfs"
  container=$(docker create --label openebs.role=image "$rootfs_image" true)
  docker export -o "$made/rootfs.tar" "$container"
  docker rm "$container"
  # A plugin gets its /dev from the engine; only root could make the nodes.
  tar -x -f "$made/rootfs.tar" -C "$folder/rootfs" --no-same-owner --exclude='dev/*'
  rm "$made/rootfs.tar"
  carried=$folder/rootfs/usr/share/openebs
  mkdir -p "$carried"
  docker save -o "$carried/vsm.tar" "$vsm_image"
  gzip -9 "$carried/vsm.tar"
  sed "s|^  \"description\": \"\\(.*\\)\",\$|  \"description\": \"\\1 ($version, build $wanted)\",|" "$top/config.json" \
    >"$folder/config.json"
  grep -q "build $wanted" "$folder/config.json"
  echo "$wanted" >"$made/plugin.made"
}

# Settings of the plugin that can be given to make up, which then remembers them.
settable='OPENEBS_HOST OPENEBS_PORTS OPENEBS_ATTACH OPENEBS_REVIVE OPENEBS_GUARD OPENEBS_GUARD_REACH
OPENEBS_OPERATORS OPENEBS_LOG_LEVEL'
wanted_settings() {
  echo "OPENEBS_STORE=$store"
  echo "OPENEBS_ROOT=$(volumes_root)"
  for name in $settable; do
    value=$(setting "$name" '')
    [ -z "$value" ] || echo "$name=$value"
  done
  echo "docker.source=$(socket_folder)"
}

# Only the settings that are not yet as wanted.
differing_settings() {
  is=$(docker plugin inspect -f '{{range .Settings.Env}}{{.}}
{{end}}{{range .Settings.Mounts}}{{.Name}}.source={{.Source}}
{{end}}' "$plugin")
  wanted_settings | while read -r line; do echo "$is" | grep -qxF -- "$line" || echo "$line"; done
}

# Nothing of the plugin changes under a mounted volume: a new one has a mount folder of its own.
may_replace() {
  using=$(consumers)
  [ -n "$using" ] || return 0
  say "! the plugin stays as it is, though it should be changed, as containers use its volumes: end them and repeat make up"
  echo "$using" | sed 's/^/    /'
  return 1
}

replace() {
  end_demo
  end_initiators
  remove_plugin
  docker plugin create "$plugin" "$folder"
}

configure() {
  end_demo
  end_initiators
  disable_plugin
  differing_settings | while read -r line; do docker plugin set "$plugin" "$line"; done
}

# Why a plugin did not start stands in the daemon's log alone.
explain_start() {
  id=$(docker plugin inspect -f '{{.Id}}' "$plugin")
  if [ "$chosen" = private ]; then
    grep -aF "plugin=$id" "$run/log/dockerd.log" | tail -n 15
  elif have journalctl; then
    journalctl -u docker -n 200 --no-pager | grep -F "plugin=$id" | tail -n 15
  else
    echo "see the daemon's log for plugin=$id"
  fi
  return 1
}

# The Engine gives it some ten seconds until it listens, and a host that is busy at that moment may need more.
enable_plugin() {
  docker plugin enable --timeout 30 "$plugin" && return 0
  echo 'once more'
  docker plugin enable --timeout 30 "$plugin"
}

bring_back() {
  plugin_enabled || enable_plugin || explain_start
  join_authorization
}

if [ "${1:-}" = assemble ]; then
  step "plugin in $folder" assemble
  exit
fi
for name in $settable; do
  value=$(setting "$name" '')
  [ -z "$value" ] || remember "$name" "$value"
done

if [ "$(made_of)" != "$wanted" ]; then
  may_replace || exit 0
  step "plugin in $folder" assemble
  step "plugin $plugin, build $wanted" replace
fi
if [ -n "$(differing_settings)" ]; then
  may_replace || exit 0
  step "settings of plugin $plugin" configure
fi
if plugin_enabled; then
  say "✓ plugin $plugin is enabled, build $wanted"
else
  step "enable plugin $plugin" bring_back
fi
