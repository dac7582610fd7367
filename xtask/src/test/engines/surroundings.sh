# What the engines and the daemon find: this machine, with folders that are written laid over, so that
# nothing of it stays. Runs in mount and network namespaces of its own.
#
# $1: the program; $2: the root of containers, as a tar archive; $3: an empty directory; $4: a name for
# its cgroups, so that other runs on the same machine are left alone.
set -u
program=$1 image=$2 work=$3 place=$4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The folders that engines and `resview install` write, and where the program is.
make_surroundings() {
    local dir
    mount -t tmpfs -o mode=755 tmpfs "$work"
    for dir in etc usr; do
        mkdir -p "$work/$dir/upper" "$work/$dir/work"
        mount -t overlay -o "lowerdir=/$dir,upperdir=$work/$dir/upper,workdir=$work/$dir/work" overlay "/$dir" ||
            return
    done
    mount -t tmpfs -o mode=755 tmpfs /run || return
    mount -t tmpfs -o mode=755 tmpfs /var/lib || return
    mkdir -p /run/lock /var/lib/lxc /var/lib/resview /var/lib/lxcfs
    install -m 755 "$program" /usr/bin/resview && ip link set lo up && enter_own_cgroup
}
start_daemon() {
    resview daemon >>"$work/daemon.log" 2>&1 &
    wait_for is_served
}
is_served() { resview status >/dev/null && resview list >/dev/null; }
stop_daemon() { resview stop && not grep -q ' fuse.resview ' /proc/mounts; }
# Where cgroup2 is mounted beside v1, crun uses neither if cgroup2 has a controller: it runs where
# that mount is gone.
hide_cgroup2() {
    local mounted
    mounted=$(awk '$3 == "cgroup" { v1 = 1 } $3 == "cgroup2" { v2 = $2 } END { if (v1) print v2 }' /proc/mounts)
    unshare --mount --propagation private sh -c "${mounted:+umount $mounted &&} exec sleep infinity" &
    without_cgroup2="nsenter --mount --target $!"
}
