#!/bin/bash
# A container without a container engine: a root of its own, volumes at their places, and no more rights than are given.
#   container.sh ROOT IMAGE HOSTS WRITABLE|READ-ONLY UID GID CAPABILITIES [SOURCE:TARGET:rw|ro]… -- PROGRAM [ARGUMENT]…
# It runs in a mount namespace of its own, which is to be made before. CAPABILITIES is `-all`, or `-all,+net_admin`.
set -euo pipefail
root=$1 image=$2 hosts=$3 mode=$4 uid=$5 gid=$6 capabilities=$7
shift 7
mkdir -p "$root"
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir usr etc proc dev .host
ln -s usr/bin usr/sbin usr/lib usr/lib64 .
mount --bind "$image/usr" usr
mount -o remount,bind,ro usr
cp "$image/etc/passwd" "$image/etc/group" etc/
cp "$hosts" etc/hosts
echo "multi on" >etc/host.conf
mount --rbind /proc proc
mount --rbind /dev dev
# For the program that gives up rights at last; an image need not have it.
mount --bind / .host
while [ "$1" != -- ]; do
  IFS=: read -r source target how <<<"$1"
  shift
  if [ -d "$source" ]; then mkdir -p "./$target"; else mkdir -p "./$(dirname "$target")"; : >"./$target"; fi
  mount --bind "$source" "./$target"
  [ "$how" = rw ] || mount -o remount,bind,ro "./$target"
done
shift
[ "$mode" = writable ] || mount -o remount,ro "$root"
setpriv=$(command -v setpriv)
loader=$(realpath "$(ldd "$setpriv" | grep -o '/[^ ]*ld-[^ ]*')")
libraries=$(dirname "$(realpath "$(ldd "$setpriv" | grep -o '/[^ ]*/libc\.so[^ ]*')")")
export PATH=/opt/bin:/usr/sbin:/usr/bin
exec chroot "$root" "/.host$loader" --library-path "/.host$libraries" "/.host$setpriv" \
  --reuid "$uid" --regid "$gid" --groups "$gid" --bounding-set "$capabilities" --inh-caps=-all --ambient-caps=-all \
  --no-new-privs --pdeathsig KILL -- "$@"
