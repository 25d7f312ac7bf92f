#!/bin/sh
# pick.sh OUT <LIST   copy the files named in LIST, and the shared libraries that they load, into the root file system OUT
#
# Runs while the image is built. For each package that a file came from, its licence and its entry of the dpkg database are
# taken along (the latter in status.d, where image scanners look for it), so the image says what it is made of.
set -eu

out=${1:?usage: pick.sh OUT <LIST}
mkdir -p "$out/var/lib/dpkg/status.d"

# A path may be reached by way of /bin -> /usr/bin: everything is kept under its real folder, by its own name.
real() { echo "$(readlink -f "$(dirname "$1")")/$(basename "$1")"; }

record_package() {
  # dpkg knows a file by the path it was packed with, which for some is still /bin or /lib.
  owner=$(dpkg-query -S "$1" 2>/dev/null || dpkg-query -S "${1#/usr}") ||
    { echo "pick: error: no package has $1" >&2; exit 1; }
  name=${owner%%:*}
  [ -e "$out/var/lib/dpkg/status.d/$name" ] && return
  dpkg-query -s "$name" >"$out/var/lib/dpkg/status.d/$name"
  mkdir -p "$out/usr/share/doc/$name"
  cp -L "/usr/share/doc/$name/copyright" "$out/usr/share/doc/$name/"
}

pick() {
  file=$(real "$1")
  [ -e "$out$file" ] && return
  mkdir -p "$out$(dirname "$file")"
  if [ -L "$file" ]; then
    ln -s "$(readlink -f "$file")" "$out$file"
    pick "$(readlink -f "$file")"
    return
  fi
  cp -a "$file" "$out$file"
  case $file in /etc/* | /usr/share/*) return ;; esac
  record_package "$file"
  libraries=$(ldd "$file" 2>&1) || return 0    # a static program, or a script: nothing to load
  case $libraries in *'not found'*) echo "pick: error: $file: $libraries" >&2; exit 1 ;; esac
  for library in $(echo "$libraries" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^\t\(\/[^ ]*\).*/\1/p'); do
    pick "$library"
  done
}

for folder in bin sbin lib lib64; do
  mkdir -p "$out/usr/$folder"
  ln -s "usr/$folder" "$out/$folder"
done
mkdir -p "$out/etc" "$out/dev" "$out/proc" "$out/sys" "$out/run" "$out/root" "$out/var"
ln -s /run "$out/var/run"
ln -s /proc/self/mounts "$out/etc/mtab"
mkdir -m 1777 "$out/tmp"

while read -r line; do
  for file in ${line%%#*}; do
    case $file in /*) ;; *) file=$(command -v "$file") || true ;; esac
    [ -f "$file" ] || { echo "pick: error: no such file or program: '$file' of '$line'" >&2; exit 1; }
    pick "$file"
  done
done
