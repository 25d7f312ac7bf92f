#!/bin/sh
# sidecar.sh   the container openebs-registrator: registers what runs on the daemon's host
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"
reach_engine
load_settings

host=$(setting OPENEBS_HOST '')
level=$(setting OPENEBS_LOG_LEVEL info)
image_id=$(docker image inspect -f '{{.Id}}' "$sidecar_image")
wanted=$(fingerprint "$image_id" "$store" "$REGISTRATOR_PORT" "$host" "$level" "$(socket_folder)" -- deploy/sidecar.sh)

# The socket's folder is bound, not the socket: that is another file after the daemon's restart. Not recursively: else the
# sidecar would hold every network namespace and plugin mount that stood below /var/run when it started.
run_sidecar() {
  end_container "$sidecar_container"
  docker run -d --name "$sidecar_container" --label openebs.role=registrator --label "openebs.build=$wanted" \
    --network host --restart always --stop-timeout 30 \
    --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    --log-driver local --log-opt max-size=10m \
    --mount "type=bind,source=$(socket_folder),target=/run/docker-host,readonly,bind-nonrecursive" \
    -e "DOCKER_HOST=unix:///run/docker-host/$(socket_name)" -e "OPENEBS_STORE=$store" -e "OPENEBS_HOST=$host" \
    -e "OPENEBS_LISTEN=127.0.0.1:$REGISTRATOR_PORT" -e "OPENEBS_LOG_LEVEL=$level" \
    "$sidecar_image"
}

is_ready() {
  docker exec "$sidecar_container" node -e \
    "fetch('http://127.0.0.1:$REGISTRATOR_PORT/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"
}

start_sidecar() {
  label='{{index .Config.Labels "openebs.build"}}'
  if [ "$(docker container inspect -f "$label" "$sidecar_container" 2>/dev/null)" = "$wanted" ]; then
    docker start "$sidecar_container"
  else
    run_sidecar
  fi
  for _ in $(seq 60); do
    ! is_ready || return 0
    sleep 0.5
  done
  docker logs --tail 20 "$sidecar_container"
  return 1
}

step "sidecar $sidecar_container" start_sidecar
