# `resview node` as the DaemonSet's pod: a root with nothing but the program, the host's folders that the
# chart mounts, no capability, no network. Comes after service.sh, when no package is installed.

pods=/var/pods
pod_folders="/opt/resview /etc/resview /etc/systemd/system /run/resview"

begin_pod() { # NAME PROGRAM OPTION…
    local name=$1 program=$2 folder root=$pods/$1
    local properties=(-p "RootDirectory=$root" -p MountAPIVFS=yes -p BindReadOnlyPaths=/run/dbus:/host/run/dbus)
    shift 2
    rm -rf "$root"
    mkdir -p "$root"/{proc,dev,sys,tmp,config,host/run/dbus}
    for folder in $pod_folders; do
        # As the kubelet does for DirectoryOrCreate.
        mkdir -p "$folder" "$root/host$folder"
        properties+=(-p "BindPaths=$folder:/host$folder")
    done
    # What asks over the socket has no process id that means anything here.
    [ "$(systemd_version)" -lt 257 ] || properties+=(-p PrivatePIDs=yes)
    cp "$program" "$root/resview"
    before_pod=$(journalctl -q -n 1 --show-cursor | sed -n 's/^-- cursor: //p')
    echo '{"version":1,"default":"on"}' >"$root/config/policy.json"
    systemd-run --quiet --collect --unit "$name" "${properties[@]}" -p CapabilityBoundingSet= \
        -p NoNewPrivileges=yes -p PrivateNetwork=yes -p ReadOnlyPaths=/resview -p KillMode=control-group \
        /resview node --systemd yes --policy /config/policy.json --interval 500ms "$@"
}
is_active() { [ "$(show ActiveState)" = active ]; }
# The pod that was begun last: the ones before it of the same name have said the same.
pod_says() { # NAME WORDS
    journalctl -q -o cat --no-pager -u "$1" --after-cursor="$before_pod" | grep -q -e "$2"
}
# As the kubelet does in the end.
kill_pod() { # NAME
    systemctl kill -s KILL "$1" && wait_for not systemctl --quiet is-active "$1"
}
pod_serves() { # NAME PROGRAM VERSION OPTION…
    local name=$1 program=$2 version=$3
    shift 3
    begin_pod "$name" "$program" "$@" && wait_for pod_says "$name" "version $version serves" && answers &&
        return
    journalctl --no-pager -n 20 -u "$name"
    return 1
}

is_installed_by_pod() {
    [ "$(show FragmentPath)" = /etc/systemd/system/resview.service ] && [ "$(show ActiveState)" = active ] &&
        systemctl --quiet is-enabled resview && [ "/proc/$(main_pid)/exe" -ef /opt/resview/resview ] &&
        grep -q default /etc/resview/policy.json
}
# The plugin is to be registered when the kubelet starts the first pod, also after the machine has started.
is_in_order() {
    case " $(show Before) " in *" kubelet.service "*) ;; *) return 1 ;; esac
    case " $(show After) " in *" containerd.service "*) ;; *) return 1 ;; esac
}
is_no_process_of_the_pod() { ! grep -q pod "/proc/$(main_pid)/cgroup"; }

same_daemon_after() { # COMMAND…
    local before
    before=$(main_pid)
    "$@" && [ "$(main_pid)" = "$before" ] && answers
}
kill_and_begin_pod() {
    kill_pod pod && pod_serves pod /vm/a.program 0.1.0
}
# The supervisor too: it has the plugin's process.
upgrade_by_pod() { # PROGRAM VERSION OPTION…
    local pid before
    before=$(main_pid)
    kill_pod pod && pod_serves pod "$@" && [ "$(main_pid)" != "$before" ] || return 1
    cmp -s /opt/resview/resview "$1" && [ ! -e /opt/resview/resview.previous ] || return 1
    for pid in $(main_pid) $(workers); do
        [ "/proc/$pid/exe" -ef /opt/resview/resview ] || return 1
    done
}
# A program that works, told something that it does not.
fail_to_upgrade() {
    kill_pod pod && begin_pod pod /vm/b.program -- --no-such-option &&
        wait_for pod_says pod 'does not come up' && kill_pod pod && wait_for is_active &&
        cmp -s /opt/resview/resview /vm/a.program && ! grep -q no-such /etc/systemd/system/resview.service &&
        answers && begin_pod pod /vm/a.program
}
leave_the_newer_alone() {
    kill_pod pod && begin_pod pod /vm/a.program && wait_for pod_says pod 'is newer than 0.1.0, and is left' &&
        cmp -s /opt/resview/resview /vm/b.program && answers
}
put_back_what_is_missing() {
    rm /opt/resview/resview /etc/systemd/system/resview.service &&
        wait_for cmp -s /opt/resview/resview "$1" && wait_for is_installed_by_pod && answers
}
# An administrator's word holds.
stopped_by_hand_stays_stopped() {
    systemctl stop resview && wait_for pod_says pod 'somebody has stopped the daemon' &&
        [ "$(show ActiveState)" = inactive ] && answers && systemctl start resview && wait_for answers
}

take_away() {
    kill_pod pod && begin_pod away "$1" --uninstall && wait_for not systemctl --quiet is-active away &&
        wait_for pod_says away 'nothing of it is left' && return
    journalctl --no-pager -n 20 -u away -u resview-uninstall
    return 1
}
nothing_left_by_pod() {
    rmdir /opt/resview /etc/resview /run/resview 2>/dev/null
    nothing_left
}

leave_the_package_alone() {
    dpkg -i /vm/a.deb >/dev/null && begin_pod pod /vm/b.program &&
        wait_for pod_says pod "is left alone; version 0.1.0 serves" && [ ! -e /opt/resview/resview ] &&
        [ "$(show FragmentPath)" != /etc/systemd/system/resview.service ] && kill_pod pod &&
        dpkg -P resview >/dev/null
}

check_node() {
    for name in a b; do
        dpkg-deb --fsys-tarfile /vm/$name.deb | tar -xOf - ./usr/bin/resview >/vm/$name.program &&
            chmod 755 /vm/$name.program
    done
    check pod_installs_through_systemd pod_serves pod /vm/a.program 0.1.0
    check what_the_pod_has_installed_is_the_daemon is_installed_by_pod
    check systemd_understands_the_pods_unit unit_is_clean
    check the_kubelet_waits_for_the_unit is_in_order
    check the_daemon_is_no_process_of_the_pod is_no_process_of_the_pod
    rm -rf "$readers"
    check readers_start_on_the_node begin_reading
    while_they_read pod_killed_3_times same_daemon_after repeat 3 kill_and_begin_pod
    while_they_read upgrade_by_pod_that_fails fail_to_upgrade
    while_they_read upgraded_by_pod upgrade_by_pod /vm/b.program 0.1.0+b
    while_they_read older_pod_changes_nothing same_daemon_after leave_the_newer_alone
    while_they_read downgraded_by_pod upgrade_by_pod /vm/a.program 0.1.0 --downgrade
    while_they_read missing_files_are_put_back put_back_what_is_missing /vm/a.program
    while_they_read daemon_stopped_by_hand stopped_by_hand_stays_stopped
    enter_phase node_last
    check readers_end_on_the_node reads_were_good node_last end
    check container_begins_with_a_slot_on_the_node begin_container slotted_on_node slave $slots
    check taken_away_by_pod take_away /vm/a.program
    check the_slot_shows_the_host_after_that shows_the_host slotted_on_node
    systemctl stop slotted_on_node
    check nothing_is_left_by_the_pod nothing_left_by_pod
    check package_is_left_alone leave_the_package_alone
}
