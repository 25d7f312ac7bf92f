#!/bin/sh
# check.sh   what needs neither Docker nor root: Biome, TypeScript and shellcheck, all at once
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$top"
sh deploy/packages.sh
PATH=$top/node_modules/.bin:$PATH

# Scripts are those called *.sh, and those that begin by naming a shell.
scripts() {
  find . \( -name node_modules -o -name .git -o -name .run -o -name .tap -o -name .cache -o -path ./build \) -prune -o \
    -type f -print | while read -r file; do
    case $file in
      *.sh) echo "$file" ;;
      *.*) ;;
      *) ! head -n 1 "$file" | grep -aqE '^#!/(usr/)?bin/(env )?(ba|da)?sh' || echo "$file" ;;
    esac
  done
  [ ! -e .ci/run ] || echo .ci/run
}
check_scripts() { scripts | sort -u | xargs shellcheck -x; }

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
began=$(clock)
biome check . >"$out/biome" 2>&1 &
biome=$!
tsc >"$out/tsc" 2>&1 &
tsc=$!
shellcheck=
if have shellcheck; then
  check_scripts >"$out/shellcheck" 2>&1 &
  shellcheck=$!
elif [ -n "${CI:-}" ]; then
  fail 'shellcheck is missing: install it (Debian, Ubuntu: apt-get install shellcheck)'
else
  say '! shellcheck is missing, so scripts are not checked (Debian, Ubuntu: apt-get install shellcheck; macOS: brew install it)'
fi

bad=0
report() {
  if wait "$2"; then
    say "✓ $1"
  else
    say "✗ $1"
    cat "$out/$1"
    bad=1
  fi
}
report biome "$biome"
report tsc "$tsc"
[ -z "$shellcheck" ] || report shellcheck "$shellcheck"
say "$(seconds_since "$began")"
exit "$bad"
