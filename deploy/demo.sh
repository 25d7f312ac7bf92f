#!/bin/sh
# demo.sh   the story of a volume on a real host, each step with its time; status 0 only if every step held
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"
# shellcheck source=deploy/teardown.sh
. "$top/deploy/teardown.sh"

volume=demo
scratch=$run/demo
story_began=$(clock)

sh "$top/deploy/up.sh"
only_one
load_settings
reach_engine
root=$(volumes_root)
rm -rf "$scratch"
mkdir -p "$scratch"

# An earlier demo's volume goes first; one that somebody else made under that name is not ours to remove.
created_at() { docker volume inspect -f '{{.CreatedAt}}' "$volume" 2>/dev/null || true; }
remove_former() { end_demo && docker volume rm "$volume"; }

create_volume() {
  docker volume create -d openebs -o size=256M "$volume"
  remember DEMO_VOLUME "$(created_at)"
}

# in_container SCRIPT [WORD...]: an ordinary container with the volume at /data.
in_container() {
  docker run --rm --network none --volume-driver openebs -v "$volume:/data" --entrypoint sh "$sidecar_image" -euc "$@"
}

# Text of random letters, so that whole lines of it can be looked for later. sync FILE is fsync(2).
write_file() {
  # shellcheck disable=SC2016 # for the shell in the container
  in_container 'cd /data
    head -c 8000000 /dev/urandom | base64 -w 72 >file
    sha256sum file >file.sha256
    sync file file.sha256
    sync .
    sed -n "1~10000p" file' >"$scratch/lines"
  in_container 'cat /data/file.sha256' >"$scratch/sha256"
  cat "$scratch/sha256"
  test -s "$scratch/lines"
}

ids() { docker container inspect -f '{{.Id}}' "vsm-$volume" "initiator-$volume"; }

remove_containers() {
  ids >"$scratch/ids"
  # By their own stop first: the initiator unmounts and logs out, as it would when the host is shut down.
  docker stop "initiator-$volume"
  docker stop "vsm-$volume"
  docker rm -f "initiator-$volume" "vsm-$volume"
}

# The kernel's own switch, bound as a file: neither root here nor a privileged container is needed.
drop_page_cache() {
  docker run --rm --network none -v /proc/sys/vm/drop_caches:/drop_caches --entrypoint sh "$sidecar_image" -c \
    'sync && echo 3 >/drop_caches'
}

read_file() {
  in_container 'cd /data && sha256sum -c file.sha256 && cat file.sha256' >"$scratch/read"
  cat "$scratch/read"
  grep -qxF "$(cat "$scratch/sha256")" "$scratch/read"
  ids >"$scratch/new-ids"
  ! grep -xF -f "$scratch/ids" "$scratch/new-ids" || { echo 'these containers are still those that were there before'; return 1; }
}

search_lun() {
  docker run --rm -i --network none -v "$root/$volume:/lun:ro" --entrypoint sh "$sidecar_image" -euc \
    'grep -zaoF -f - /lun/data.img | tr "\0" "\n" | sort -u' <"$scratch/lines" >"$scratch/found"
  sort -u "$scratch/lines" | cmp - "$scratch/found"
}

ask_portal() {
  portal=$(docker container inspect -f '{{index .Config.Labels "vsm.openebs.io/targetportals"}}' "vsm-$volume")
  docker run --rm --network host "$vsm_image" iscsi-ls -s "iscsi://${portal%%,*}" | tee "$scratch/portal"
  grep -q "iqn.*:$volume " "$scratch/portal"
}

# On the bridge's address: other machines do not see it, and still it is a service.
start_service() {
  address=$(docker container inspect -f '{{.NetworkSettings.Gateway}}' "vsm-$volume")
  [ -n "$address" ]
  docker run -d --name "$demo_container" --label openebs.role=demo -e SERVICE_NAME=demo -p "$address::8080" --volume-driver openebs \
    -v "$volume:/data" --entrypoint node "$sidecar_image" -e '
      process.on("SIGTERM", () => process.exit())
      require("http").createServer((_, answer) => answer.end(require("fs").readFileSync("/data/file.sha256"))).listen(8080)'
  docker port "$demo_container" 8080 | head -n 1 >"$scratch/service"
}

tree_is_whole() {
  docker exec "$sidecar_container" registrator ls >"$scratch/tree"
  missing=
  for part in "$(told name)" volumes VSMs healthy services "$demo_container" inventory; do
    grep -qF "$part" "$scratch/tree" || missing="$missing $part"
  done
  [ -z "$missing" ]
}

print_tree() {
  for _ in $(seq 20); do
    ! tree_is_whole || return 0
    sleep 0.5
  done
  cat "$scratch/tree"
  echo "after 10 s the tree has no$missing"
  return 1
}

show() { sed 's/^/    /' "$1"; }

if [ -n "$(created_at)" ]; then
  [ "$(created_at)" = "$(recall DEMO_VOLUME)" ] ||
    fail "a volume called $volume is there that this demo did not make: remove it (docker volume rm $volume), then repeat"
  step "remove the volume of the last demo" remove_former
fi
step "docker volume create -d openebs -o size=256M $volume" create_volume
step 'a container writes a file and its sha256, with fsync, and is removed' write_file
show "$scratch/sha256"
step 'target and initiator are removed' remove_containers
step 'the page cache is dropped' drop_page_cache
step 'another container reads and compares, through a new target and a new initiator' read_file
step "$(wc -l <"$scratch/lines" | tr -d ' ') lines of the file are found in the LUN, $root/$volume/data.img" search_lun
step 'the portal is asked with iscsi-ls' ask_portal
show "$scratch/portal"
step "a service of the volume's, container $demo_container" start_service
service=$(cat "$scratch/service")
step 'the registry lists this host' print_tree
show "$scratch/tree"
rm -rf "$scratch"
cat <<END
✓ every step held, in $(seconds_since "$story_began")

Look further:
    eval "\$(make -s env)"
    docker run --rm -it -v $volume:/data --volume-driver openebs --entrypoint bash $sidecar_image
    $([ -n "$STORE" ] || echo "docker exec $etcd_container ")etcdctl get --prefix /openebs/v1/ --keys-only
    docker exec $sidecar_container registrator --help
    curl http://$service
    make status
Stop, and keep the data: make down. Remove everything, data too: make purge.
END
