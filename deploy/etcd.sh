#!/bin/sh
# etcd.sh   the container openebs-etcd: the registry of a host that has no etcd yet, on the host's loopback
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"
reach_engine
load_settings

image=${ETCD_IMAGE:-$own_etcd_image}
wanted=$(fingerprint "$ETCD_PORT" "$ETCD_PEER_PORT" "$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null)" -- deploy/etcd.sh)

is_healthy() { docker exec "$etcd_container" etcdctl --endpoints="http://127.0.0.1:$ETCD_PORT" endpoint health; }

run_etcd() {
  end_container "$etcd_container"
  peer=http://127.0.0.1:$ETCD_PEER_PORT
  client=http://127.0.0.1:$ETCD_PORT
  # Both images of etcd that there may be store as a user of their own; root without capabilities may not read the other's.
  [ "$image" = "$own_etcd_image" ] || set -- --cap-add DAC_OVERRIDE
  # Host network: etcd is there at boot before Docker's own networks, and needs none of them. Restart policy always: with
  # unless-stopped, a daemon that was killed leaves it down.
  docker run -d --name "$etcd_container" --label openebs.role=etcd --label "openebs.build=$wanted" \
    --network host --restart always --stop-timeout 30 \
    --read-only --cap-drop ALL --security-opt no-new-privileges "$@" \
    --log-driver local --log-opt max-size=10m -v "$etcd_volume:/var/lib/etcd" -e ETCDCTL_API=3 \
    --entrypoint etcd "$image" \
    --name=openebs --data-dir=/var/lib/etcd \
    --listen-client-urls="$client" --advertise-client-urls="$client" \
    --listen-peer-urls="$peer" --initial-advertise-peer-urls="$peer" --initial-cluster="openebs=$peer" \
    --auto-compaction-mode=periodic --auto-compaction-retention=1h
}

start_etcd() {
  docker volume inspect "$etcd_volume" >/dev/null 2>&1 || docker volume create --label openebs.role=etcd "$etcd_volume"
  label='{{index .Config.Labels "openebs.build"}}'
  if [ "$(docker container inspect -f "$label" "$etcd_container" 2>/dev/null)" = "$wanted" ]; then
    docker start "$etcd_container"
  else
    run_etcd
  fi
  for _ in $(seq 100); do
    ! is_healthy || return 0
    sleep 0.3
  done
  docker logs --tail 20 "$etcd_container"
  return 1
}

step "etcd on 127.0.0.1:$ETCD_PORT" start_etcd
