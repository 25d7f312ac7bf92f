#!/bin/sh
# status.sh   a line each for daemon, etcd, plugin, sidecar and volumes: healthy, or the reason; status 0 if all are
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"

bad=0
healthy() { printf '✓ %-8s %s\n' "$1" "$2"; }
unhealthy() {
  printf '✗ %-8s %s\n' "$1" "$2"
  bad=1
}

state_of() {
  found=$(docker container inspect -f '{{.State.Status}}' "$1" 2>/dev/null) || found=missing
  echo "$found"
}

report_etcd() {
  if [ -n "$STORE" ]; then
    healthy etcd "$STORE (yours; the sidecar says below whether it answers)"
    return
  fi
  found=$(state_of "$etcd_container")
  if [ "$found" != running ]; then
    unhealthy etcd "container $etcd_container is $found: make up"
  elif answer=$(docker exec "$etcd_container" etcdctl --endpoints="http://127.0.0.1:$ETCD_PORT" endpoint health 2>&1); then
    healthy etcd "http://127.0.0.1:$ETCD_PORT, container $etcd_container"
  else
    unhealthy etcd "container $etcd_container runs, but: $(first_line "$answer")"
  fi
}

report_plugin() {
  enabled=$(docker plugin inspect -f '{{.Enabled}}' "$plugin" 2>/dev/null) || enabled=missing
  case $enabled in
    true) healthy plugin "$plugin: $(docker plugin inspect -f '{{.Config.Description}}' "$plugin" | sed 's/.*(\(.*\))/\1/')" ;;
    false) unhealthy plugin "$plugin is disabled: make up" ;;
    *) unhealthy plugin "$plugin is missing: make up" ;;
  esac
}

report_sidecar() {
  found=$(state_of "$sidecar_container")
  [ "$found" = running ] || { unhealthy sidecar "container $sidecar_container is $found: make up"; return; }
  if answer=$(docker exec "$sidecar_container" node -e "
    fetch('http://127.0.0.1:$REGISTRATOR_PORT/readyz')
      .then(async (answer) => { console.log((await answer.text()).trim()); process.exit(answer.ok ? 0 : 1) })
      .catch((error) => { console.log(error.cause?.message ?? error.message); process.exit(1) })" 2>&1); then
    healthy sidecar "container $sidecar_container, http://127.0.0.1:$REGISTRATOR_PORT"
  else
    unhealthy sidecar "container $sidecar_container is not ready: $(first_line "$answer")"
  fi
}

# Targets say by their health check whether the portal serves; an initiator that does not run leaves its consumers without disk.
report_volumes() {
  served=0 reasons=
  list=$(docker ps -a --filter label=openebs.volume --format '{{.Names}}|{{.Label "openebs.role"}}|{{.Status}}')
  while IFS='|' read -r name kind status; do
    case $kind/$status in
      target/*unhealthy* | target/Created* | target/Exited* | target/Restarting* | target/Dead* | \
        initiator/Exited* | initiator/Restarting* | initiator/Dead*) reasons="$reasons $name: $status;" ;;
      target/*) served=$((served + 1)) ;;
    esac
  done <<LIST
$list
LIST
  # Only where the kernel attaches: without it a session that breaks stays broken.
  iscsid=$(state_of "$iscsid_container")
  case $iscsid in
    running | missing) ;;
    *) reasons="$reasons $iscsid_container: $iscsid;" ;;
  esac
  if [ -z "$reasons" ]; then
    healthy volumes "$served served here, $(attached) attached"
  else
    unhealthy volumes "$served served here, but:$reasons see docker logs"
  fi
}
attached() { docker ps -a --filter label=openebs.role=initiator --format x | wc -l | tr -d ' '; }

have docker || { unhealthy daemon 'there is no docker command: make up installs it'; exit 1; }
load_settings
choose_engine
is_same_engine
if ! ask_engine; then
  unhealthy daemon "$endpoint does not answer: $(first_line "$refusal")"
  exit 1
fi
healthy daemon "$(told version) at $endpoint$([ "$chosen" != private ] || echo ', private to this clone')"
report_etcd
report_plugin
report_sidecar
report_volumes
exit "$bad"
