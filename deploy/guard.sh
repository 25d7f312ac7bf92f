#!/bin/sh
# guard.sh   GUARD=1: has the daemon ask the plugin about every call, and refuse what harms volumes in use; asks first on a daemon
#            that make up did not start (FORCE=1 does not). GUARD=0: no more. Without either it stays as it is.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"
[ -n "${GUARD:-}" ] || exit 0
reach_engine
load_settings

guard_off() {
  leave_authorization
  remember AUTHORIZES ''
}

# It would be refused by the Engine in any case, as it has that name already: but the guard comes first.
asks() { docker --config "$run/no-config" rename "$sidecar_container" "$sidecar_container" 2>&1 | grep -q 'authorization denied by plugin'; }

guard_on() {
  file=$(daemon_json)
  [ -e "$file" ] || echo '{}' >"$file"
  remember AUTHORIZES yes
  join_authorization
  [ "$(setting OPENEBS_GUARD '')" = enforce ] || return 0
  for _ in $(seq 50); do
    ! asks || return 0
    sleep 0.2
  done
  echo "the daemon has reloaded $file, and does not ask the plugin: see its log"
  return 1
}

may_guard() {
  is_own_daemon || fail "the Docker Engine at $endpoint is on another host: put \"$plugin\" into authorization-plugins of its" \
    'daemon.json there, and reload it (docs/operations.md)'
  [ "$chosen" != private ] || return 0
  file=$(daemon_json)
  { [ -w "$file" ] || { [ ! -e "$file" ] && [ -w "$(dirname "$file")" ]; }; } ||
    fail "GUARD=1 writes $file, which may not be written here: repeat as root"
  [ "${FORCE:-}" != 1 ] || return 0
  say "GUARD=1 puts $plugin into authorization-plugins of $file and reloads the daemon: from then on it asks the plugin about every" \
    'call, and does not start without it (docs/operations.md says the way back).'
  [ -t 0 ] || fail 'nobody is there to ask: say FORCE=1 to do it without a question'
  printf 'Do so? [yes/no] '
  read -r answer
  [ "$answer" = yes ] || fail 'the guard stays as it was'
}

case $GUARD in
  0)
    if in_daemon_json; then step 'guard off' guard_off; else say '✓ the guard is off'; fi
    ;;
  1)
    if in_daemon_json; then
      say '✓ the guard is on'
    else
      may_guard
      step 'guard on' guard_on
    fi
    ;;
  *) fail "GUARD is $GUARD: expected 1 (on) or 0 (off)" ;;
esac
