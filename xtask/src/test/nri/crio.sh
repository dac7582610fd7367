# CRI-O: it mostly does without a pause process, has a process of its own beside each container, and may let a
# container start unseen while a plugin registers.

crio_checks() {
    runtime_down containerd >/dev/null 2>&1
    runtime=crio runtime_config=/etc/crio/crio.conf
    check crio starts crio_begins
    kinds crio
    check crio finds_what_already_runs existing
    check crio misses_nobody killed_while 5 15
    check crio may_be_silent_for_a_while silent
    check crio is_found_after_its_restart runtime_again TERM
    check crio is_found_after_its_death runtime_again KILL
    check crio has_the_plugin_in_the_daemon in_the_daemon
}
crio_begins() {
    CRIO_CONFIG=$(crio_runtimes) && runc_up && crio_up && plugin_down && end_program resview TERM && daemon_up &&
        plugin_up
}
# It gives the pause process of a pod with one pid namespace a score below that of others, as not every machine
# allows.
runc_up() { with_bundles runc-of-pods 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$(command -v runc)"; }
# As $CONTAINERD_CONFIG has them.
crio_runtimes() {
    local name program
    echo "[crio.nri]"
    echo "nri_plugin_request_timeout = '60s'"
    for name in runc crun kata-none; do
        [ $name = crun ] && program=crun || program=runc-of-pods
        cat <<END
[crio.runtime.runtimes.$name]
runtime_path = "$work/bin/$program"
monitor_path = "$(command -v conmon)"
monitor_cgroup = "pod"
END
    done
}
