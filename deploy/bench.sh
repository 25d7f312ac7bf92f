#!/bin/sh
# bench.sh   runs the measurements there are, each a program of its own in bench/
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$top"
sh deploy/packages.sh
PATH=$top/node_modules/.bin:$PATH
found=no
for program in bench/*.bench.ts; do
  [ -e "$program" ] || continue
  found=yes
  say "$program"
  node "$program"
done
[ "$found" = yes ] || say 'nothing is measured yet: there is no bench/*.bench.ts'
