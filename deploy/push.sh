#!/bin/sh
# push.sh   pushes plugin and images to TO=host/name: TO/registrator (the plugin), TO/registrator-sidecar, TO/vsm, TO/etcd,
#           each as :<version> and :latest
#
# A registry cannot hold a plugin and an image under one name and tag, so the sidecar's image has a name of its own.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=deploy/engine.sh
. "$top/deploy/engine.sh"

case ${TO:-} in
  ?*/?*) to=${TO%/} ;;
  '') fail 'TO is not set: say where to push, as in make push TO=registry.example.com:5000/openebs' ;;
  *) fail "TO is $TO: expected host/name, as in make push TO=registry.example.com:5000/openebs" ;;
esac
reach_engine

push_image() {
  for tag in "$version" latest; do
    docker tag "openebs/$1:$version" "$to/$1:$tag"
    status=0
    docker push "$to/$1:$tag" || status=$?
    docker image rm "$to/$1:$tag"
    [ "$status" = 0 ] || return "$status"
  done
}

push_plugin() {
  for tag in "$version" latest; do
    name=$to/registrator:$tag
    docker plugin create "$name" "$build/plugin"
    status=0
    docker plugin push "$name" || status=$?
    docker plugin rm "$name"
    [ "$status" = 0 ] || return "$status"
  done
}

sh "$top/deploy/images.sh"
sh "$top/deploy/plugin.sh" assemble
for name in vsm registrator-sidecar etcd; do
  ! docker image inspect "openebs/$name:$version" >/dev/null 2>&1 || step "push $to/$name" push_image "$name"
done
step "push $to/registrator (plugin)" push_plugin
say "✓ elsewhere: docker plugin install --alias openebs $to/registrator"
