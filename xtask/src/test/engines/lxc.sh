# LXC, whose containers all have the view: what they include runs a mount hook.

lxc_up() { resview install lxc; }
lxc_begin() { # NAME view|plain COMMAND…
    local dir=/var/lib/lxc/$1 include=/usr/share/lxc/config/common.conf
    mkdir -p "$dir" || return
    {
        [ "$2" = plain ] || echo "lxc.include = $include"
        printf '%s\n' "lxc.rootfs.path = dir:$rootfs" "lxc.uts.name = $1" 'lxc.net.0.type = empty' \
            'lxc.mount.auto = proc:mixed sys:mixed' 'lxc.mount.entry = tmpfs tmp tmpfs' \
            'lxc.apparmor.profile = unconfined' 'lxc.tty.max = 0'
        if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
            printf '%s\n' 'lxc.cgroup2.memory.max = 256M' 'lxc.cgroup2.cpu.max = 100000 100000'
        else
            printf '%s\n' 'lxc.cgroup.memory.limit_in_bytes = 256M' \
                'lxc.cgroup.cpu.cfs_period_us = 100000' 'lxc.cgroup.cpu.cfs_quota_us = 100000'
        fi
    } >"$dir/config"
    shift 2
    printf '%s\n' '#!/bin/sh' "exec $(printf ' %q' "$@")" >"$dir/command"
    lxc_start "${dir##*/}"
}
lxc_start() {
    local command
    mapfile -t command <"/var/lib/lxc/$1/command"
    within lxc-start --name "$1" --daemon --logfile "/var/lib/lxc/$1/log" -- sh -c "${command[*]:1}" &&
        within lxc-wait --name "$1" --state RUNNING
}
lxc_in() { within lxc-attach --name "$1" --clear-env --set-var "PATH=$PATH" -- "${@:2}"; }
lxc_stop() { within lxc-stop --name "$1" --kill; }
lxc_uninstall() { resview uninstall lxc; }
lxc_end() {
    local name
    for name in "$@"; do lxc_stop "$name"; done
}
