#!/bin/sh
# up.sh   makes this machine (or the one that DOCKER_HOST names) an OpenEBS host; what is right already is left alone
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"

bring_engine() {
  if ! have dockerd || ! have docker; then
    step 'install docker.io' install docker.io
    remember INSTALLED docker.io
  fi
  [ "$chosen" != none ] || choose_engine
  if [ "$chosen" != private ] && has_systemd; then
    step 'start the Docker service' start_service
  else
    use_private
    check_private_is_possible
    remember ENGINE "$endpoint"
    step "start a private Docker Engine under $run" start_private_daemon
  fi
  ask_engine || fail "the Docker Engine at $endpoint does not answer: $(first_line "$refusal")"
}

start_service() {
  systemctl start docker
  for _ in $(seq 60); do
    ! docker version >/dev/null 2>&1 || return 0
    sleep 1
  done
  systemctl status --no-pager docker || true
  return 1
}

list_additions() {
  additions=
  add() { additions="$additions  $1
"; }
  for image in "$vsm_image" "$sidecar_image" "$rootfs_image"; do
    docker image inspect "$image" >/dev/null 2>&1 || add "image      $image"
  done
  if [ -z "$STORE" ]; then
    [ -n "${ETCD_IMAGE:-}" ] || docker image inspect "$own_etcd_image" >/dev/null 2>&1 || add "image      $own_etcd_image"
    docker volume inspect "$etcd_volume" >/dev/null 2>&1 || add "volume     $etcd_volume"
    docker container inspect "$etcd_container" >/dev/null 2>&1 || add "container  $etcd_container (on the host's loopback)"
  fi
  docker container inspect "$sidecar_container" >/dev/null 2>&1 || add "container  $sidecar_container"
  docker plugin inspect "$plugin" >/dev/null 2>&1 || add "plugin     $plugin"
  [ -n "$(recall ROOT_ADDED)" ] || add "folder     $root (volumes)"
  [ -z "$additions" ] || printf 'make up adds to the Docker Engine %s at %s:\n%s' "$(told version)" "$endpoint" "$additions"
}

# Our names may have been taken by others, whom nothing here may touch.
check_names() {
  for container in "$etcd_container" "$sidecar_container"; do
    found=$(docker container inspect -f '{{index .Config.Labels "openebs.role"}}' "$container" 2>/dev/null) || continue
    [ -n "$found" ] || fail "a container called $container is there that make up did not make: rename or remove it"
  done
  ! docker plugin inspect "$plugin" >/dev/null 2>&1 || plugin_is_ours ||
    fail "a plugin called $plugin is there that make up did not make: end what uses its volumes, and remove it" \
      "(docker plugin disable $plugin && docker plugin rm $plugin)"
  [ -z "$STORE" ] || return 0
  ! docker volume inspect "$etcd_volume" >/dev/null 2>&1 || etcd_volume_is_ours ||
    fail "a volume called $etcd_volume is there that make up did not make: rename or remove it, or name your etcd by STORE"
}

# Asked of the daemon's host, before the plugin makes the folder: purge removes only what was not there before.
root_is_new() {
  docker run --rm --network none -v "$(dirname "$root"):/parent:ro" --entrypoint sh "$vsm_image" \
    -c '[ -e "/parent/$1" ] && echo no || echo yes' sh "$(basename "$root")"
}

# `no`, or the very path: what purge erases must be the folder that was asked for here, and no other.
note_root() {
  [ -z "$(recall ROOT_ADDED)" ] || return 0
  case $(root_is_new) in
    yes) remember ROOT_ADDED "$root" ;;
    no) remember ROOT_ADDED no ;;
  esac
}

# Volumes do not move with a setting: those of the former folder would be lost to plugin and purge.
kept=$(recall ROOT)
[ -z "${ROOT:-}" ] || [ -z "$kept" ] || [ "$ROOT" = "$kept" ] ||
  fail "ROOT is $ROOT, and volumes of this clone are in $kept: make purge first, or leave ROOT as it was"

# Preflight comes first of all: where it says no, not even a folder has been made.
status=0
sh "$top/deploy/preflight.sh" || status=$?
[ "$status" = 0 ] || [ "$status" = 3 ] || exit 1
only_one
load_settings
chosen=none
! have docker || choose_engine
case $status in
  0) ask_engine || fail "the Docker Engine at $endpoint does not answer: $(first_line "$refusal")" ;;
  3) bring_engine ;;
esac
have npm || step 'install npm' install npm

case ${GUARD:-} in
  '' | 0) ;;
  1)
    OPENEBS_GUARD=$(setting OPENEBS_GUARD enforce)
    export OPENEBS_GUARD
    ;;
  *) fail "GUARD is $GUARD: expected 1 (on) or 0 (off)" ;;
esac
root=$(volumes_root)
case $root in /?*) ;; *) fail "ROOT is $root: expected an absolute path, the folder for volumes on the daemon's host" ;; esac
check_names
list_additions
remember ENGINE "$endpoint"
for name in STORE ETCD_PORT ETCD_PEER_PORT REGISTRATOR_PORT; do
  eval "remember $name \"\$$name\""
done
remember ROOT "$root"

sh "$top/deploy/images.sh"
note_root
[ -n "$STORE" ] || sh "$top/deploy/etcd.sh"
sh "$top/deploy/plugin.sh"
sh "$top/deploy/sidecar.sh"
sh "$top/deploy/guard.sh"
say "✓ this is an OpenEBS host: docker volume create -d openebs -o size=1G <name>"
