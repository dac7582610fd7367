# How LXCFS is used by hand: what is written in many places has to work with this program under its name,
# and containers of an LXCFS that was killed are healed. With Docker.

# Binds as everybody writes them. runc allows no others below /proc.
binds_of() { # MOUNTPOINT
    local file
    for file in cpuinfo diskstats meminfo stat swaps uptime; do
        printf -- '-v %s/proc/%s:/proc/%s:rw ' "$1" "$file" "$file"
    done
}
start_lxcfs() { # PROGRAM MOUNTPOINT
    mkdir -p "$2"
    "$1" "$2" >>"$work/lxcfs.log" 2>&1 &
    echo $! >"$work/lxcfs.pid"
    wait_for grep -qs ^MemTotal "$2/proc/meminfo"
}
# The next one must not find it still there.
end_lxcfs() { # SIGNAL
    kill "-$1" "$(cat "$work/lxcfs.pid")" && wait_for not is_running "$(cat "$work/lxcfs.pid")"
}
is_running() { grep -qs '^State:.[^Z]' "/proc/$1/status"; }
has_256m() { # CONTAINER DIRECTORY
    within docker exec "$1" grep '^MemTotal: *262144 kB' "$2/meminfo"
}
# Everything by the words of the field, but for the command and the terminal that -it wants.
run_with() { # MOUNTPOINT OPTION…
    script --quiet --return --command "docker run -it --rm -m 256m --cpus 2 $(binds_of "$1") ${*:2} engines free -m" \
        /dev/null | tee /dev/stderr | grep -q '^Mem: *256 '
}
begin_with() { # NAME MOUNTPOINT OPTION…
    # shellcheck disable=SC2046 # many words
    within docker run -d --name "$1" -m 256m --cpus 2 $(binds_of "$2") "${@:3}" engines sleep 100000
}
end_containers() { within docker rm -f "$@" >/dev/null 2>&1; }

# Needs the daemon, and LXCFS as Debian has it.
heal_lxcfs() {
    local engine=lxcfs
    check $engine debians_starts start_lxcfs /usr/bin/lxcfs /var/lib/lxcfs
    check $engine container begin_with engines-killed /var/lib/lxcfs
    check $engine container_has_view has_256m engines-killed /proc
    check $engine killed end_lxcfs KILL
    check $engine container_is_dead not has_256m engines-killed /proc
    check $engine remount resview remount engines-killed
    check $engine container_is_healed has_256m engines-killed /proc
    end_containers engines-killed
    umount --lazy /var/lib/lxcfs
}
# Needs no daemon.
stand_in_for_lxcfs() {
    local engine=lxcfs parent=/var/lib/lxc
    mkdir -p "$work/bin" && ln -sf /usr/bin/resview "$work/bin/lxcfs"
    check $engine starts start_lxcfs "$work/bin/lxcfs" /var/lib/lxcfs
    check $engine run_it run_with /var/lib/lxcfs
    check $engine ends end_lxcfs TERM

    mount --bind $parent $parent && mount --make-shared $parent
    check $engine starts_below_parent start_lxcfs "$work/bin/lxcfs" $parent/lxcfs
    check $engine run_it_shared run_with $parent/lxcfs "-v $parent/:$parent/:shared"
    check $engine shared_begins begin_with engines-shared $parent/lxcfs -v $parent/:$parent/:shared
    check $engine shared_has_view has_256m engines-shared /proc
    check $engine shared_ends end_lxcfs TERM
    check $engine shared_starts_again start_lxcfs "$work/bin/lxcfs" $parent/lxcfs
    check $engine new_mount_arrives wait_for has_256m engines-shared $parent/lxcfs/proc
    check $engine shared_ends_again end_lxcfs TERM
    end_containers engines-shared
}
