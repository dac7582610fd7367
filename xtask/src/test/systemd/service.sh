# What is known of the service, and what is done to it. Comes after readers.sh.

show() { systemctl show -P "$1" resview.service; }
main_pid() { show MainPID; }
# Those of the service, whether it is started or was left serving. Without a process for each line: they
# are dear under emulation.
with_argument() { # WORD
    local pids pid words
    { pids=$(<"/sys/fs/cgroup/system.slice/resview.service/cgroup.procs"); } 2>/dev/null
    for pid in $pids; do
        # It may end at any moment.
        { mapfile -d '' -t words <"/proc/$pid/cmdline"; } 2>/dev/null || continue
        case " ${words[*]} " in *" $1 "*) echo "$pid" ;; esac
    done
}
workers() { with_argument __worker; }
has_worker() { [ -n "$(workers)" ]; }
answers() { timeout -k 1 60 grep -q ^MemTotal $view/proc/meminfo; }
is_mounted() { grep -q " $view fuse.resview " /proc/mounts; }
# The guard says so once for each view.
has_laid_slots() { # TIMES
    [ "$(journalctl -q -o cat --no-pager -u resview | grep -c 'slots are laid')" -ge "$1" ]
}

repeat() { # N COMMAND…
    local number=$1 round
    shift
    for round in $(seq "$number"); do
        "$@" || { echo "round $round of $*: failed"; return 1; }
    done
}

restart() {
    local before
    before=$(main_pid)
    systemctl restart resview && [ "$(main_pid)" != "$before" ] && answers
}

kill_all() {
    local before
    before=$(main_pid)
    # shellcheck disable=SC2046 # a list of numbers
    kill -9 "$before" $(workers)
    wait_for replaced "$before" && wait_for has_worker && answers
}
replaced() { [ "$(main_pid)" != "$1" ] && [ "$(main_pid)" != 0 ] && [ "$(show ActiveState)" = active ]; }

kill_supervisor() {
    local before
    before=$(main_pid)
    kill -9 "$before"
    wait_for replaced "$before" && answers
}

kill_worker() {
    local before
    before=$(workers)
    # shellcheck disable=SC2086
    [ -n "$before" ] && kill -9 $before && wait_for other_worker "$before" && answers
}
other_worker() { [ -n "$(workers)" ] && [ "$(workers)" != "$1" ]; }

# Sets `package` and `version` to those of the build that is not installed.
take_the_other() {
    package=b version=0.1.0+b
    [ "$(resview --version)" != "resview $version" ] || package=a version=0.1.0
}
upgrade_by_dpkg() {
    local package version
    take_the_other
    dpkg -i /vm/$package.deb >/run/dpkg.log 2>&1 || { cat /run/dpkg.log; return 1; }
    # The package says something only if the old version goes on.
    ! grep '^resview:' /run/dpkg.log || return 1
    is_upgraded
}
upgrade_by_reload() {
    local package version
    take_the_other
    dpkg-deb --fsys-tarfile /vm/$package.deb | tar -xOf - ./usr/bin/resview >/usr/bin/resview.new &&
        chmod 755 /usr/bin/resview.new && mv /usr/bin/resview.new /usr/bin/resview || return 1
    systemctl reload resview && is_upgraded
}
is_upgraded() {
    [ "$(resview --version)" = "resview $version" ] && wait_for new_program && answers
}
# Every worker is the program that is installed now.
new_program() {
    local pid
    has_worker || return 1
    for pid in $(workers); do
        [ "/proc/$pid/exe" -ef /usr/bin/resview ] || return 1
    done
}

stop_and_start() {
    local before
    before=$(workers)
    systemctl stop resview && [ "$(show ActiveState)" = inactive ] && is_mounted &&
        [ "$(workers)" = "$before" ] && answers && sleep 1 && answers &&
        systemctl start resview && answers
}

# --- When nobody holds the view any more ------------------------------------------------------------

# A container that binds one file.
begin_container() { # NAME PROPAGATION SOURCE
    systemd-run --quiet --collect --unit "$1" -p MemoryMax=192M \
        unshare --mount --pid --fork --mount-proc --propagation "$2" \
        bash -c "mount --bind $3/proc/meminfo /proc/meminfo && exec sleep infinity" &&
        wait_for shows "$1" 196608
}
init_of() { pgrep -x -P "$(systemctl show -P MainPID "$1.service")" sleep; }
meminfo_of() { # NAME
    local init
    init=$(init_of "$1") && timeout -k 1 60 nsenter -m -p -t "$init" cat /proc/meminfo 2>&1
}
shows() { # NAME KIB
    [ "$(meminfo_of "$1" | mem_total)" = "$2" ]
}
shows_the_host() { shows "$1" "$(mem_total </proc/meminfo)"; } # NAME
mem_total() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p'; }
does_not_lose() { # NAME COMMAND…
    local name=$1
    shift
    "$@" && shows "$name" 196608
}
is_dead_in() { meminfo_of "$1" | grep -q 'Transport endpoint is not connected'; } # NAME

# Supervisor and worker are dead, and systemd has dropped what it kept.
lose_everything() {
    systemctl stop resview || return 1
    # Before 254, systemd keeps nothing for a service that is stopped.
    systemctl clean --what=fdstore resview 2>/dev/null || [ "$(systemd_version)" -lt 254 ] || return 1
    # shellcheck disable=SC2046
    kill -9 $(workers) && wait_for not has_worker
}
systemd_version() { systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

# --- The package ----------------------------------------------------------------------------------

# The worker leaves the host's mounts; the process that systemd starts must not, or nobody saw its own.
sees_the_hosts_mounts() { [ "$(readlink "/proc/$(main_pid)/ns/mnt")" = "$(readlink /proc/1/ns/mnt)" ]; }
cannot_gain_privileges() { grep -q '^NoNewPrivs:	1' "/proc/$(main_pid)/status"; }
is_spared_by_oom() { [ "$(cat "/proc/$(main_pid)/oom_score_adj")" = -1000 ]; }
stores_descriptors() { [ "$(show NFileDescriptorStore)" -ge 2 ]; }
unit_is_clean() { # [UNIT]
    local said unit=${1:-resview}
    # An older one names the keys that it does not know, and keeps the defaults.
    said=$(systemd-analyze verify --man=no "$unit.service" 2>&1 | grep -e resview -e lxcfs |
        { [ "$(systemd_version)" -ge 254 ] && cat || grep -v -e 'Unknown key' -e 'ignoring: notify-reload'; })
    [ -z "$said" ] || { echo "$said"; return 1; }
}
nothing_left() {
    local found
    found=$(find /usr /etc /run /var/lib -name '*resview*' -not -path '*/dpkg/*'; grep resview /proc/mounts
        pgrep -a resview)
    [ -z "$found" ] || { echo "$found"; return 1; }
}
