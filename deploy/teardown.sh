# shellcheck shell=sh
# How what `make up` made is ended, in an order that loses nothing: consumers first (they are their owner's to end), then
# initiators (they write out, unmount and log out), then iscsid where there is one, the plugin, targets, etcd. Sourced after lib.sh and engine.sh; names of those files:
# shellcheck disable=SC2154

# ours ROLE [FILTER...]: ids of the containers with that role, running or not.
ours() {
  role=$1
  shift
  docker ps -aq --filter "label=openebs.role=$role" "$@"
}

# of_volumes ROLE: only those that the plugin made: anybody may label a VSM of his own as target.
of_volumes() { ours "$1" --filter label=openebs.uuid; }

# consumers [-a]: lines "container volume" of containers that use volumes of ours; only running ones without -a. The demo's
# own is no concern of anybody's.
consumers() {
  found=$(docker ps -q --no-trunc "$@" | grep -vxF "$(ours demo --no-trunc)" || true)
  # shellcheck disable=SC2016 # variables of the template
  [ -z "$found" ] || echo "$found" | xargs docker inspect -f '{{$name := .Name}}{{range .Mounts}}{{if eq .Driver "openebs" "openebs:latest"}}{{$name}} {{.Name}}
{{end}}{{end}}' | sed -n 's|^/||p'
}

# refuse_while_used DOING [-a]: never pulls a volume from under a container that somebody runs.
refuse_while_used() {
  doing=$1
  shift
  using=$(consumers "$@")
  [ -z "$using" ] && return
  echo "✗ $doing would take volumes away from containers that use them: end these first" >&2
  echo "$using" | sed 's/^\([^ ]*\) \(.*\)/    docker rm -f \1    (volume \2)/' >&2
  exit 1
}

end_initiators() {
  initiators=$(of_volumes initiator)
  [ -z "$initiators" ] || { echo "$initiators" | xargs docker stop && echo "$initiators" | xargs docker rm; }
}

end_targets() {
  targets=$(of_volumes target)
  [ -z "$targets" ] || { echo "$targets" | xargs docker stop && echo "$targets" | xargs docker rm; }
}

# end_container NAME: only if it is ours. One that does not stop by itself goes all the same.
end_container() {
  role=$(docker container inspect -f '{{index .Config.Labels "openebs.role"}}' "$1" 2>/dev/null) || return 0
  [ -n "$role" ] || { echo "container $1 has no label openebs.role: it is not ours and stays"; return 0; }
  docker stop "$1" || echo "container $1 did not stop"
  docker rm -f "$1"
}

etcd_volume_is_ours() {
  [ "$(docker volume inspect -f '{{index .Labels "openebs.role"}}' "$etcd_volume" 2>/dev/null)" = etcd ]
}

end_demo() {
  demo=$(ours demo)
  [ -z "$demo" ] || docker rm -f "$demo"
}

# made_of: the build of the plugin that is there. A plugin has no labels: one whose description names no build was made by
# somebody else, who may have called it openebs too, and his is neither replaced nor removed.
made_of() { docker plugin inspect -f '{{.Config.Description}}' "$plugin" 2>/dev/null | sed -n 's/.*build \([0-9a-f]*\)).*/\1/p'; }
plugin_is_ours() { [ -n "$(made_of)" ]; }

plugin_enabled() { [ "$(docker plugin inspect -f '{{.Enabled}}' "$plugin" 2>/dev/null)" = true ]; }

# Whether the daemon has it as authorization plugin. Its /info does not follow a reload [20.10], so where the daemon was told
# counts: the file, or the options of a dockerd on this machine.
in_daemon_json() { [ -e "$(daemon_json)" ] && grep -Eq "\"$plugin(:latest)?\"" "$(daemon_json)"; }
in_daemon_options() {
  for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = dockerd ] || continue
    ! tr '\0' ' ' <"$process/cmdline" | grep -Eq -- "--authorization-plugin[= ]$plugin(:latest)? " || return 0
  done
  return 1
}
in_info() { docker info -f '{{range .Plugins.Authorization}}{{println .}}{{end}}' | grep -Eqx "$plugin(:latest)?"; }

# A reload with the plugin disabled kills dockerd, and a start fails: so it leaves daemon.json first, the daemon reloads, and
# only then it may be disabled. `make up` has it join again.
leave_authorization() {
  if ! is_own_daemon; then
    # Its daemon.json is out of reach, and this machine's is another daemon's. What /info says lasts until a restart [20.10].
    in_info || return 0
    echo "the Docker Engine at $endpoint has $plugin as authorization plugin, and would not survive without: take it out of" \
      'authorization-plugins in daemon.json (or of the options of dockerd) on that host, restart its daemon, and repeat'
    return 1
  fi
  file=$(daemon_json)
  if in_info && in_daemon_options; then
    echo "dockerd was started with --authorization-plugin=$plugin: start it without that option first, then repeat"
    return 1
  fi
  in_daemon_json || return 0
  if [ ! -w "$file" ]; then
    echo "the plugin stands in $file as authorization plugin, and must leave it first: take it out of authorization-plugins" \
      "there, reload the daemon (sudo systemctl reload docker), and repeat; or repeat this as root"
    return 1
  fi
  edit_authorization "$file" leave
  remember AUTHORIZES yes
  reload_daemon
}

join_authorization() {
  [ "$(recall AUTHORIZES)" = yes ] && is_own_daemon || return 0
  edit_authorization "$(daemon_json)" join
  reload_daemon
  remember AUTHORIZES ''
}

# edit_authorization FILE leave|join. Written whole or not at all; what else the file holds stays as it is.
edit_authorization() {
  node -e '
    const fs = require("fs")
    const [file, change, plugin] = process.argv.slice(1)
    const config = JSON.parse(fs.readFileSync(file, "utf8") || "{}")
    const others = (config["authorization-plugins"] || []).filter((name) => name !== plugin && name !== plugin + ":latest")
    config["authorization-plugins"] = change === "join" ? [...others, plugin] : others
    if (config["authorization-plugins"].length === 0) delete config["authorization-plugins"]
    fs.writeFileSync(file + ".new", JSON.stringify(config, null, 2) + "\n", { mode: fs.statSync(file).mode })
    fs.renameSync(file + ".new", file)
  ' "$1" "$2" "$plugin"
}

# Returns when the daemon has reloaded, which is when it tells: it does so after it took up the list of plugins.
reload_daemon() {
  asked_at=$(docker info -f '{{.SystemTime}}')
  if [ "$chosen" = private ]; then
    kill -HUP "$(private_daemon_pid)"
  elif has_systemd; then
    systemctl reload docker
  else
    kill -HUP "$(cat /var/run/docker.pid)"
  fi
  for _ in $(seq 50); do
    told_of=$(docker events --since "$asked_at" --until "$(docker info -f '{{.SystemTime}}')" --filter type=daemon --filter event=reload)
    [ -z "$told_of" ] || return 0
    sleep 0.1
  done
  echo "the daemon did not reload $(daemon_json) within 5 s: see its log"
  return 1
}

disable_plugin() {
  plugin_enabled && plugin_is_ours || return 0
  leave_authorization
  # The daemon counts every volume that it knows as a use, so without -f it refuses; nothing is mounted any more.
  docker plugin disable -f "$plugin"
}

# Removing a plugin erases its mount folder: not with a file system in it.
remove_plugin() {
  docker plugin inspect "$plugin" >/dev/null 2>&1 || return 0
  plugin_is_ours || { echo "the plugin $plugin is none that make up made: it stays"; return 0; }
  disable_plugin
  id=$(docker plugin inspect -f '{{.Id}}' "$plugin")
  ! is_local_engine || ! grep -q "/plugins/$id/propagated-mount/" /proc/self/mountinfo || {
    echo "volumes are still mounted below the plugin's folder: end what uses them, then repeat"
    grep "/plugins/$id/propagated-mount/" /proc/self/mountinfo
    return 1
  }
  docker plugin rm -f "$plugin"
}
