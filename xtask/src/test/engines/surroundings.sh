# What the engines and the daemon find: this machine, with folders that are written laid over, so that
# nothing of it stays. Runs in mount and network namespaces
# of its own. Also how checks are counted.
#
# $1: the program; $2: the root of containers, as a tar archive; $3: an empty directory; $4: a name for
# its cgroups, so that other runs on the same machine are left alone.
set -u
program=$1 image=$2 work=$3 place=$4
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
passed=0 failed=0 rows=() columns=()
declare -A cells

# The outcome of a check: in libtest's form, and for the table.
count() { # ENGINE CHECK ok|FAILED
    cells[$1 $2]=$3
    case " ${rows[*]-} " in *" $1 "*) ;; *) rows+=("$1") ;; esac
    case " ${columns[*]-} " in *" $2 "*) ;; *) columns+=("$2") ;; esac
    [ "$3" = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
    echo "test ${1}_$2 ... $3"
}
check() { # ENGINE CHECK COMMAND…
    local output
    if output=$("${@:3}" 2>&1); then
        count "$1" "$2" ok
    else
        count "$1" "$2" FAILED
        echo "$output" | tail -n 20
    fi
}
print_table() {
    local row column
    printf '\n%-24s' ''
    for row in "${rows[@]}"; do printf ' %-11s' "$row"; done
    for column in "${columns[@]}"; do
        printf '\n%-24s' "$column"
        for row in "${rows[@]}"; do printf ' %-11s' "${cells[$row $column]:--}"; done
    done
    printf '\n\n'
}

not() { ! "$@"; }
# Nothing here may hang the tests; it only bounds.
within() { timeout -k 1 100 "$@"; }
wait_for() { # COMMAND…
    local _
    for _ in $(seq 600); do
        "$@" && return
        sleep 0.1
    done
    echo "waited in vain for: $*"
    return 1
}


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
# LXC makes its cgroups beside those of its monitor, and only where that is in none with a limit. All
# that is started here is in these, so that it can be found again.
enter_own_cgroup() {
    local hierarchy dir file
    for hierarchy in $(hierarchies); do
        mkdir -p "$hierarchy/$place/self"
        for dir in "$place" "$place/self"; do
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$dir/$file"
            done
        done
        echo $$ >"$hierarchy/$place/self/cgroup.procs" || return
    done
}
hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }
clean_up() {
    local hierarchy
    for hierarchy in $(hierarchies); do echo $$ >"$hierarchy/cgroup.procs"; done
    for hierarchy in $(hierarchies); do
        [ ! -d "$hierarchy/$place" ] || wait_for take_away "$hierarchy/$place"
        # Where LXC's monitors end: empty then.
        [ ! -d "$hierarchy/lxc.pivot" ] || rmdir "$hierarchy/lxc.pivot"
    done 2>/dev/null
}
take_away() { # CGROUP
    local pid
    find "$1" -name cgroup.procs -exec cat {} + | while read -r pid; do kill -9 "$pid"; done
    find "$1" -depth -type d -exec rmdir {} +
    [ ! -d "$1" ]
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
