#!/bin/sh
# stage.sh ARCH   what images take from npm: build/<ARCH>/node and build/<ARCH>/node_modules; ARCH is x64 or arm64
#
# Packages come from the lock file and never through an npm inside a build: that would run on an emulated processor where the
# daemon's architecture is not this machine's, and would need a second way to the registry. Done already is left alone.
set -eu
# shellcheck source=deploy/lib.sh
. "$(dirname "$0")/lib.sh"

arch=${1:?usage: stage.sh x64|arm64}
out=$build/$arch
wanted=$(fingerprint "$arch" -- package-lock.json deploy/stage.sh)
[ "$(cat "$out/staged" 2>/dev/null)" != "$wanted" ] || exit 0
have npm || fail 'npm is missing: it brings Node and the libraries of the images (Debian, Ubuntu: apt-get install npm)'

rm -rf "$out"
mkdir -p "$out/stage"
cp "$top/package.json" "$top/package-lock.json" "$out/stage/"
cd "$out/stage"
npm ci --omit=dev --os=linux --cpu="$arch" --libc=glibc --ignore-scripts --no-audit --no-fund --loglevel=error
[ -e "node_modules/node-linux-$arch/bin/node" ] ||
  fail "npm $(npm --version) brought no Node for $arch: another processor than this machine's needs npm 10 or later"
mv "node_modules/node-linux-$arch/bin/node" "$out/node"

# The rest of it is headers; what remains of the others serves type checkers and readers.
rm -rf node_modules/node-linux-* node_modules/.bin node_modules/.package-lock.json node_modules/@types node_modules/undici-types
find node_modules -type f ! -iname 'licen[cs]e*' \( -name '*.md' -o -name '*.map' -o -name '*.d.ts' -o -name '*.d.cts' -o -name '*.d.mts' \) -delete
find node_modules -type d \( -name test -o -name tests -o -name example -o -name examples -o -name .github \) -prune -exec rm -rf {} +
rm -rf node_modules/zod/src

# Symbols are a quarter of Node. Another architecture's strip is rarely there.
if ! have strip; then
  say 'strip is missing (binutils): Node stays 34 MB larger'
elif ! strip -o "$out/node.stripped" "$out/node"; then
  say "strip cannot read a binary of $arch: Node stays 34 MB larger"
else
  mv "$out/node.stripped" "$out/node"
fi
chmod 755 "$out/node"
mv node_modules "$out/node_modules"
cd "$top"
rm -rf "$out/stage"
echo "$wanted" >"$out/staged"
