# shellcheck shell=sh
# Which Docker Engine is meant, and the private one that `make up` starts under .run/ where a machine has no other.
# Sourced after lib.sh; names of that file and for the scripts:
# shellcheck disable=SC2034,SC2154

# The folder of the socket is bound into plugin and sidecar, so it holds nothing else.
private_socket=$run/sock/docker.sock
private_pid=$run/docker.pid
default_endpoint=unix:///var/run/docker.sock

# choose_engine: sets `endpoint` and `chosen` (named: by DOCKER_HOST or a context; default; private). Asks no daemon.
choose_engine() {
  if [ -n "${DOCKER_HOST:-}" ]; then
    endpoint=$DOCKER_HOST
  else
    endpoint=$(docker context inspect -f '{{.Endpoints.docker.Host}}' 2>/dev/null) || endpoint=$default_endpoint
  fi
  if [ "$endpoint" = "unix://$private_socket" ]; then
    chosen=private
  elif [ "$endpoint" = "$default_endpoint" ] && [ -z "${DOCKER_HOST:-}" ]; then
    chosen=default
    [ "$(recall ENGINE)" != "unix://$private_socket" ] || use_private
  else
    chosen=named
  fi
  pass_guard
}

# What make does to its own containers is meant, though a guard may stand before them: docker's client takes a header for each
# call from its configuration. Ours has that, and of the user's what finds daemons and commands; no passwords.
pass_guard() {
  [ -d "$run" ] || return 0    # nothing of ours is there yet
  ! is_own_daemon || { [ -e "$(daemon_json)" ] && grep -q "\"$plugin" "$(daemon_json)"; } || return 0
  users=${DOCKER_CONFIG:-${HOME:-}/.docker}
  [ "$users" != "$run/docker" ] && have node || return 0
  mkdir -p "$run/docker"
  for part in contexts cli-plugins; do
    [ ! -d "$users/$part" ] || ln -sfn "$users/$part" "$run/docker/$part"
  done
  node -e '
    const fs = require("fs")
    const [from, to] = process.argv.slice(1)
    const { currentContext } = fs.existsSync(from) ? JSON.parse(fs.readFileSync(from, "utf8") || "{}") : {}
    fs.writeFileSync(to, JSON.stringify({ currentContext, HttpHeaders: { "X-Openebs-Break-Glass": "make" } }) + "\n")
  ' "$users/config.json" "$run/docker/config.json"
  DOCKER_CONFIG=$run/docker
  export DOCKER_CONFIG
}

use_private() {
  chosen=private
  endpoint=unix://$private_socket
  DOCKER_HOST=$endpoint
  export DOCKER_HOST
}

# ask_engine: sets `info` to lines of what the daemon says of itself; status 1 with `refusal` when it does not answer.
ask_engine() {
  asked=$(timeout 10 docker info -f 'version={{.ServerVersion}}
name={{.Name}}
os={{.OperatingSystem}}
type={{.OSType}}
arch={{.Architecture}}
root={{.DockerRootDir}}
driver={{.Driver}}
security={{range .SecurityOptions}}{{.}} {{end}}
errors={{range .ServerErrors}}{{.}} {{end}}' 2>&1) || true
  info=$asked
  [ -z "$(told version)" ] || return 0
  # A client that cannot reach the daemon says so within its answer, beside it, or both.
  refusal=$(told errors)
  [ -n "$refusal" ] || refusal=$(echo "$asked" | grep -vE '^[a-z]*=' | head -n 1)
  refusal=${refusal:-no answer within 10 s}
  return 1
}
told() { echo "$info" | sed -n "s/^$1=//p"; }

# reach_engine: for everything but `make up`; ends the script with a sentence when the daemon does not answer.
reach_engine() {
  have docker || fail 'there is no docker command here: nothing was set up (make up does that)'
  choose_engine
  is_same_engine
  ask_engine || fail "the Docker Engine at $endpoint does not answer: $(first_line "$refusal")"
}

is_same_engine() {
  used=$(recall ENGINE)
  [ -z "$used" ] || [ "$used" = "$endpoint" ] ||
    fail "this clone has set up the Docker Engine at $used, and DOCKER_HOST or the context name $endpoint: go on there," \
      "or end what was set up (DOCKER_HOST=$used make purge) first"
}

first_line() { echo "$1" | head -n 1; }

is_local_engine() { case $endpoint in unix://*) true ;; *) false ;; esac; }

# Whether files and processes of this machine tell of the daemon: one that is named may be another's, also by a unix socket
# (ssh -L, a virtual machine, a container), unless the name is that of the machine's own socket.
is_own_daemon() {
  case $chosen/$endpoint in
    private/* | default/* | */"$default_endpoint" | */unix:///run/docker.sock) true ;;
    *) false ;;
  esac
}

# The folder, on the daemon's host, that holds docker.sock.
socket_folder() {
  case $endpoint in
    unix://*) dirname "${endpoint#unix://}" ;;
    *) echo /var/run ;;
  esac
}
socket_name() {
  case $endpoint in
    unix://*) basename "${endpoint#unix://}" ;;
    *) echo docker.sock ;;
  esac
}

# Where volumes are kept on the daemon's host: where the first `make up` put them, whatever ROOT says by now, as they do not
# move. With a private daemon nothing is left outside of .run/.
volumes_root() {
  kept=$(recall ROOT)
  if [ -n "$kept" ]; then
    echo "$kept"
  elif [ "$chosen" = private ]; then
    echo "${ROOT:-$run/openebs}"
  else
    echo "${ROOT:-/var/lib/openebs}"
  fi
}

daemon_json() {
  if [ "$chosen" = private ]; then echo "$run/daemon.json"; else echo /etc/docker/daemon.json; fi
}

# node's name of the daemon's architecture; that of the machine which builds may be another.
node_arch() {
  case $(told arch) in
    x86_64 | amd64) echo x64 ;;
    aarch64 | arm64) echo arm64 ;;
    *) fail "the Docker Engine runs on $(told arch): expected x86_64 or aarch64, for which Node and our images exist" ;;
  esac
}

has_systemd() { [ -d /run/systemd/system ]; }
can_install() { is_root && have apt-get; }

# install PACKAGE...: from the machine's own sources; what a package would start is not started (a test needs tgt's
# programs, not a target on this machine's port 3260). docker.io is installed by itself, so that its service starts.
install() {
  apt-get update || say 'apt-get update failed: going on with the lists that are there'
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}
install_quiet() {
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    # A signal ends a shell without its EXIT trap. It waits for apt-get: what that installs must not start meanwhile.
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  install "$@"
}

private_daemon_pid() {
  [ -e "$private_pid" ] || return 1
  pid=$(cat "$private_pid")
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && grep -qaF -- "--data-root=$run/data" "/proc/$pid/cmdline" &&
    echo "$pid"
}

# Sockets below it carry names of 80 and more characters, and a socket's path ends at 107: hence not under .run/.
exec_root() { echo "/run/openebs-$(echo "$run" | sha256sum | cut -c1-6)"; }

# other_daemons: pids of the dockerds in this network namespace that are not ours.
other_daemons() {
  own=$(private_daemon_pid) || own=none
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] || continue
    [ "$(readlink "$process/ns/net")" = "$(readlink /proc/self/ns/net)" ] || continue
    [ "${process#/proc/}" = "$own" ] || echo "${process#/proc/}"
  done
}

check_private_is_possible() {
  is_root || fail 'no Docker Engine answers, and only root can start one: start yours, or name it by DOCKER_HOST'
  [ "${#private_socket}" -le 107 ] ||
    fail "$private_socket is longer than the 107 characters that a socket's path may have: clone into a shorter path"
  for other in $(other_daemons); do
    grep -qa -e '--iptables=false' "/proc/$other/cmdline" ||
      fail "another dockerd (pid $other) runs in this network, and two would fight over docker0: name its socket by" \
        DOCKER_HOST
  done
}

# dockerd leaves bridge, packet filter and forwarding as it set them, also when it ends. What was there before is noted at the
# first start since boot, so that purge can put it back; where docker0 was there already they are another daemon's.
boot_id() { cat /proc/sys/kernel/random/boot_id; }
forward_policy() { "$1" -S FORWARD 2>/dev/null | sed -n 's/^-P FORWARD //p'; }
note_network() {
  [ "$(recall FORWARDING_BOOT)" != "$(boot_id)" ] || return 0
  remember FORWARDING ''
  [ ! -e /sys/class/net/docker0 ] || return 0
  remember FORWARDING "$(cat /proc/sys/net/ipv4/ip_forward)"
  remember FORWARD_POLICY_iptables "$(forward_policy iptables)"
  remember FORWARD_POLICY_ip6tables "$(forward_policy ip6tables)"
  remember FORWARDING_BOOT "$(boot_id)"
}

# restored_rules: of an iptables-save, without what dockerd adds; the policy, where it is known, is that of the table filter's
# chain: other tables have a FORWARD too.
restored_rules() {
  policy=$1
  grep -vE 'DOCKER|docker0' | if [ -n "$policy" ]; then
    sed "/^\*filter/,/^COMMIT/s/^:FORWARD [A-Z]*/:FORWARD $policy/"
  else
    cat
  fi
}

# Not where another dockerd works with them by now, nor what was noted before a boot: the machine has set that anew.
restore_network() {
  [ -n "$(recall FORWARDING)" ] && [ "$(recall FORWARDING_BOOT)" = "$(boot_id)" ] || return 0
  others=$(other_daemons | tr '\n' ' ')
  if [ -n "$others" ]; then
    echo "another dockerd runs in this network (pid ${others% }): docker0, packet filter and forwarding stay for it"
    return 0
  fi
  for family in iptables ip6tables; do
    have "$family-save" || continue
    "$family-save" | restored_rules "$(recall "FORWARD_POLICY_$family")" | "$family-restore"
  done
  [ ! -e /sys/class/net/docker0 ] || ip link del docker0
  recall FORWARDING >/proc/sys/net/ipv4/ip_forward
}

start_private_daemon() {
  note_network
  mkdir -p "$run/sock" "$run/data" "$run/log"
  [ -e "$run/daemon.json" ] || echo '{}' >"$run/daemon.json"
  rm -f "$private_socket"
  setsid dockerd --config-file="$run/daemon.json" --data-root="$run/data" --exec-root="$(exec_root)" \
    --pidfile="$private_pid" --host="unix://$private_socket" >>"$run/log/dockerd.log" 2>&1 </dev/null 9>&- &
  started=$!
  for _ in $(seq 600); do
    ! docker version >/dev/null 2>&1 || return 0
    [ -e "/proc/$started" ] || break
    sleep 0.2
  done
  reason=$(tail -n 1 "$run/log/dockerd.log")
  case $reason in
    *iptables* | *bridge* | *'network controller'*)
      say "dockerd cannot set up its network (docker0, iptables) on this machine: $reason" ;;
    *'authorization plugin'*)
      say "$run/daemon.json names an authorization plugin that is not enabled: take it out, make up, and put it in again" ;;
    *) tail -n 15 "$run/log/dockerd.log" ;;
  esac
  return 1
}

# dockerd leaves its default network namespace mounted, and after a start that failed its data folder on itself.
unmount_below() {
  awk -v root="$1" '$5 == root || index($5, root "/") == 1 { print $5 }' /proc/self/mountinfo | sort -r |
    while read -r mounted; do umount "$mounted"; done
}

stop_private_daemon() {
  if pid=$(private_daemon_pid); then
    kill "$pid"
    for _ in $(seq 600); do
      [ -e "/proc/$pid" ] || break
      sleep 0.2
    done
    [ ! -e "/proc/$pid" ] || { say "dockerd (pid $pid) still runs 120 s after SIGTERM: see $run/log/dockerd.log"; return 1; }
  fi
  rm -f "$private_pid" "$private_socket"
  unmount_below "$(exec_root)"
  unmount_below "$run/data"
  rm -rf --one-file-system "$(exec_root)"
}
