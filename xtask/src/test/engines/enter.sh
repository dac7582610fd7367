# Changes the root to that of another Debian, whose engines are newer than this machine's, and runs the
# checks there. Runs in mount and network namespaces of its own; nothing is written to that root.
#
# $1: the root; $2: what bash runs there; the rest is what surroundings.sh wants.
set -eu
root=$1
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for dir in dev proc sys; do mount --rbind "/$dir" "$root/$dir"; done
for dir in opt root tmp var/cache var/log var/tmp; do mount -t tmpfs tmpfs "$root/$dir"; done
cd "$root/tmp"
touch program image
mkdir work
mount --bind "$3" program
mount --bind "$4" image
mount --bind "$5" work
cd "$root"
# One over the other: no folder for the old root is needed.
pivot_root . .
umount --lazy .
cd /
exec bash -c "$2" engines /tmp/program /tmp/image /tmp/work "$6"
