# The checks on a node. Without systemd, the DaemonSet starts the daemon where the machine's first process is: only
# on a machine that is there for nothing else is that where the node is.
take_down() {
    kubelet_down
    runtime_down containerd
    control_plane_down
    (place=$place-daemon && clean_up)
}
start_node() {
    node_folders && control_plane_up && scheduler_up && containerd_up && kubelet_up
}
start_daemon() {
    begin_program resview resview daemon --nri && wait_while resview is_served
}
is_served() { resview status >/dev/null 2>&1 && resview list >/dev/null; }
is_own_machine() { [ /proc/self/ns/mnt -ef /proc/1/ns/mnt ]; }

set_up start_node
if is_own_machine; then install_checks; else check daemon starts start_daemon; fi
kind_checks
reader_checks
! is_own_machine || uninstall_checks
