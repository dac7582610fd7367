# Runs in a container of 256 MB and one CPU: says of each reader whether it shows these.
#
# $1: the host's total of /proc/pressure/cpu; $2: the most seconds that the container may be old.
is() { # NAME EXPECTED FOUND
    if [ "$3" = "$2" ]; then echo "$1 ok"; else echo "$1 FAILED: ${3:-nothing}, not $2"; fi
}
most() { # NAME LIMIT FOUND
    if [ -n "$3" ] && [ "$3" -le "$2" ]; then echo "$1 ok"; else echo "$1 FAILED: ${3:-nothing} > $2"; fi
}
is free 256 "$(free -m | awk '$1 == "Mem:" { print $2 }')"
is top 256.0 "$(top -bn1 | awk '/^MiB Mem/ { print $4 }')"
is stat 1 "$(cat /proc/stat | grep -c '^cpu[0-9]')"
most vmstat 65536 "$(cat /proc/vmstat | awk '$1 == "nr_free_pages" { print $2 }')"
most pressure $(($1 / 10)) "$(cat /proc/pressure/cpu | sed -n 's/^some .*total=//p')"
# What all disks together have read and written since the machine began is more than that.
most diskstats 100000 "$(cat /proc/diskstats | awk '{ n += $4 + $8 } END { print n + 0 }')"
most uptime "$2" "$(cat /proc/uptime | cut -d . -f 1)"
most loadavg 30 "$(cat /proc/loadavg | sed 's/^[^/]*\/\([0-9]*\) .*/\1/')"
is cpuinfo 1 "$(grep -c '^processor' /proc/cpuinfo)"
is lscpu 1 "$(lscpu --parse=CPU | grep -vc '^#')"
is online 1 "$(getconf _NPROCESSORS_ONLN)"
