# The clock is set a year forth and back while containers read. Comes after service.sh.

year_s=31536000

# What the host and the first container say about time, as variables of the caller.
look_at_clocks() {
    local text
    host_before_s=$(cut -d ' ' -f 1 /proc/uptime) btime_before_s=$(host_btime_s)
    text=$(in_first_container cat /proc/uptime /proc/loadavg /proc/stat) || return 1
    host_after_s=$(cut -d ' ' -f 1 /proc/uptime) btime_after_s=$(host_btime_s)
    age_s=$(sed -n '1s/ .*//p' <<<"$text") load=$(sed -n 2p <<<"$text")
    btime_s=$(sed -n 's/^btime //p' <<<"$text")
}
in_first_container() { # COMMAND…
    timeout -k 1 60 nsenter -m -p \
        -t "$(pgrep -x -P "$(systemctl show -P MainPID reader1.service)" reader)" "$@"
}
host_btime_s() { sed -n 's/^btime //p' /proc/stat; }

# When the container began, in the host's uptime, lies between these two.
begin_by_uptime() { awk "BEGIN { printf \"%.2f %.2f\", $host_before_s - $age_s, $host_after_s - $age_s }"; }

# The kernel moves btime with the clock; the container's is the host's, so that ps shows true times.
btime_is_the_hosts() {
    [ "$btime_s" -ge $((btime_before_s - 1)) ] && [ "$btime_s" -le $((btime_after_s + 1)) ]
}
btime_has_moved_by() { # SECONDS SINCE
    local off=$((btime_s - $2 - $1))
    [ $off -gt -3600 ] && [ $off -lt 3600 ]
}

# A year that counted would have filled the averages: they can be no higher than those of as many tasks
# as there are, all running since the container began.
load_is_of_its_age() {
    awk -v up="$age_s" '{
        split($4, tasks, "/")
        for (i = 1; i <= 3; i++) {
            most = tasks[2] * (1 - exp(-(up + 5) / (i == 1 ? 60 : i == 2 ? 300 : 900))) + 0.01
            if ($i < 0 || $i > most) bad = 1
        }
        exit bad
    }' <<<"$load"
}
load_has_moved() { # SINCE
    local load
    load=$(in_first_container cat /proc/loadavg) && [ "${load% * *}" != "${1% * *}" ]
}

step_clock() { # SECONDS
    local worker supervisor began since
    local host_before_s host_after_s btime_before_s btime_after_s age_s btime_s load
    worker=$(workers) supervisor=$(main_pid)
    look_at_clocks && load_is_of_its_age || { echo "before: it is $age_s s old, load $load"; return 1; }
    began=$(begin_by_uptime) since=$btime_s
    date -s "@$(($(date +%s) + $1))" >/dev/null || return 1
    clocks_are_right "$1" || return 1
    # The next sample comes later than the watchdog could.
    wait_for load_has_moved "$load" || { echo "the load stands still at $load"; return 1; }
    [ "$(workers)" = "$worker" ] && [ "$(main_pid)" = "$supervisor" ] ||
        { echo "somebody was thought to be late"; return 1; }
    clocks_are_right "$1" && kill_worker && clocks_are_right "$1"
}
clocks_are_right() { # STEP_S; uses the variables of step_clock
    local now
    look_at_clocks || { echo "the clocks cannot be read"; return 1; }
    now=$(begin_by_uptime)
    awk -v a="$began" -v b="$now" 'BEGIN {
        split(a, x); split(b, y)
        exit !(x[1] <= y[2] + 0.02 && y[1] <= x[2] + 0.02)
    }' || { echo "uptime: the container began at $began, now it is $now"; return 1; }
    btime_is_the_hosts && btime_has_moved_by "$1" "$since" ||
        { echo "btime: $since, $1 s later $btime_s; the host's: $btime_before_s"; return 1; }
    load_is_of_its_age || { echo "after $age_s s the load is $load"; return 1; }
}
