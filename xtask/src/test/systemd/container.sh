# A container with the view in it, as an engine makes one: pid and mount namespaces of its own, and the
# view's files bound over those of /proc and /sys. Called by `unshare`, in a memory cgroup.
# $1: where the view is: its mountpoint, or the slots; $2: folder for reports, $3: file with the name of
# the phase, $4: MemTotal in KiB
set -e
view=$1
for file in "$view"/proc/*; do
    if [ -f "$file" ] && [ -e "/proc/${file##*/}" ]; then
        mount --bind "$file" "/proc/${file##*/}"
    fi
done
for directory in cpu node; do
    if [ -d "$view/sys/devices/system/$directory" ]; then
        mount --rbind "$view/sys/devices/system/$directory" "/sys/devices/system/$directory"
    fi
done
# Files where programs look for them; and in the view, where the pressure files are.
exec /usr/local/bin/reader --report "$2" --phase "$3" --mem-total-kib "$4" \
    /proc/meminfo /proc/stat /proc/cpuinfo /proc/uptime /proc/loadavg /proc/diskstats /proc/swaps \
    /sys/devices/system/cpu/online "$view/proc" "$view/sys/devices/system/cpu"
