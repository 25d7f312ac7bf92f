#!/bin/sh
# purge.sh   removes exactly what `make up` added to the daemon and to this clone, data of volumes too; asks, or FORCE=1
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"

only_one
only_remembered

# The state goes last: what fails before can be repeated.
remove_own_folders() {
  find "$run" -mindepth 1 -maxdepth 1 ! -name state ! -name log -exec rm -rf --one-file-system {} +
  rm -rf --one-file-system "$build"
}

if [ ! -e "$state" ]; then
  stop_private_daemon
  remove_own_folders
  rm -rf "$run"
  say '✓ make up has added nothing from this clone'
  exit
fi
choose_engine
is_same_engine
if [ "$chosen" = private ] && ! private_daemon_pid >/dev/null; then
  step 'start the private Docker Engine, to remove what it holds' start_private_daemon
fi
reach_engine
# Only what make up noted, and no default: where it ended before that, it made no folder.
root=$(recall ROOT)
root_is_ours() { [ -n "$root" ] && [ "$(recall ROOT_ADDED)" = "$root" ]; }

# Volumes of other hosts are visible here too: ours are those whose data are in our folder, also while all is down. Read by a
# container, as the folder is root's.
own_volumes() {
  [ -n "$root" ] || return 0
  ! docker image inspect "$vsm_image" >/dev/null 2>&1 ||
    docker run --rm --network none -v "$(dirname "$root"):/parent:ro" --entrypoint sh "$vsm_image" -c \
      'cd "/parent/$1" 2>/dev/null || exit 0
      for file in */volume.json; do [ ! -e "$file" ] || echo "${file%/*}"; done' sh "$(basename "$root")"
}

confirm() {
  say "make purge removes from the Docker Engine at $endpoint:"
  note "volumes and their data: $(echo "$volumes" | tr '\n' ' ')"
  note "containers $sidecar_container, $etcd_container, $iscsid_container; plugin $plugin; volume $etcd_volume; images openebs/*:$version"
  folders="$run, $build"
  ! root_is_ours || folders="$root, $folders"
  note "folders $folders"
  [ "${FORCE:-}" != 1 ] || return 0
  [ -t 0 ] || fail 'nobody is there to ask: say FORCE=1 to remove it without a question'
  printf 'Remove all of it? [yes/no] '
  read -r answer
  [ "$answer" = yes ] || fail 'nothing was removed'
}

driver_of() { docker volume inspect -f '{{.Driver}}' "$1"; }

# docker volume rm is the one way that takes the daemon's and the registry's records along, and needs etcd and plugin for it.
# Where it fails the data go with the folder.
remove_volumes() {
  end_demo
  [ -n "$volumes" ] || return 0
  [ -n "$STORE" ] || sh "$top/deploy/etcd.sh" || echo 'etcd does not start: what it holds goes with its volume'
  plugin_enabled || ! plugin_is_ours || docker plugin enable --timeout 30 "$plugin" || echo "the plugin $plugin does not start"
  for volume in $volumes; do
    # Another driver may have a volume of the folder's name, and the daemon would remove that one.
    driver=$(driver_of "$volume") || driver=$(sleep 5 && driver_of "$volume") || driver=none
    case $driver in
      "$plugin" | "$plugin:latest") ;;
      *) echo "the daemon has no volume $volume of the plugin (driver: $driver): only its folder and container go, below"
        continue ;;
    esac
    docker volume rm "$volume" || { sleep 5 && docker volume rm "$volume"; } ||
      echo "volume $volume could not be removed by the plugin: its folder and container go below"
  done
}

remove_plugin_and_containers() {
  end_initiators
  remove_plugin
  end_initiators
  end_container "$iscsid_container"
  end_targets
  end_container "$etcd_container"
}

# By a container: the folder belongs to root, and the caller need not be. What somebody else had there before stays.
remove_root() {
  root_is_ours || { echo "$root was there before make up: it stays"; return 0; }
  docker run --rm --network none -v "$(dirname "$root"):/parent" --entrypoint rm "$vsm_image" \
    -rf --one-file-system "/parent/$(basename "$root")"
}

remove_images() {
  for image in "$vsm_image" "$sidecar_image" "$rootfs_image" "$own_etcd_image" "$made_base" "$(recall PULLED_BASE)"; do
    [ -z "$image" ] || ! docker image inspect "$image" >/dev/null 2>&1 || docker image rm "$image"
  done
  docker image prune -f --filter label=openebs.role=image
  docker image prune -f --filter label=openebs.role=build
}

remove_etcd_volume() {
  docker volume inspect "$etcd_volume" >/dev/null 2>&1 || return 0
  etcd_volume_is_ours || { echo "volume $etcd_volume is not labelled openebs.role=etcd: it is not ours and stays"; return 0; }
  docker volume rm "$etcd_volume"
}

refuse_while_used 'make purge' -a
load_settings
volumes=$(own_volumes)
confirm
step 'remove volumes' remove_volumes
step 'end the sidecar' end_container "$sidecar_container"
step 'remove plugin, targets and etcd' remove_plugin_and_containers
step 'remove the registry' remove_etcd_volume
[ -z "$root" ] || step "remove $root" remove_root
step 'remove images' remove_images
end_private_daemon() {
  stop_private_daemon
  restore_network
}
[ "$chosen" != private ] || step 'end the private Docker Engine' end_private_daemon
installed=$(recall INSTALLED)
step "remove $run and $build" remove_own_folders
rm -rf "$run"
say '✓ removed'
[ -z "$installed" ] || note "packages that were installed stay, as others may use them by now: apt-get purge $installed"
