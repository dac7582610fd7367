# The checks with pods by containerd or CRI-O alone.
take_down() {
    end_program nri
    end_program second
    runtime_down "$runtime"
}
# crun beside runc, and a name that stands for another kernel. A crun may be older than the specification that
# the runtime writes, and refuse it for its number alone; and it refuses to run beside a cgroup2 that is mounted
# where version 1 is in use.
crun_up() {
    local mounted
    mounted=$(awk '$3 == "cgroup" { v1 = 1 } $3 == "cgroup2" { v2 = $2 } END { if (v1) print v2 }' /proc/mounts)
    with_bundles crun 's/"ociVersion": *"[^"]*"/"ociVersion":"1.0.2"/' \
        "unshare --mount --propagation private sh -c '${mounted:+umount $mounted &&} exec \"\$@\"' - $(command -v crun)"
}
# A runtime that has something else in its bundles.
with_bundles() { # NAME EXPRESSION COMMAND
    cat >"$work/bin/$1" <<END && chmod +x "$work/bin/$1"
#!/bin/sh
bundle=\$(printf '%s\n' "\$@" | sed -n '/^--bundle\$/ { n; p }')
[ -z "\$bundle" ] || sed -i '$2' "\$bundle/config.json"
exec $3 "\$@"
END
}
# A machine may be so busy that what takes milliseconds takes seconds.
wait=(--nri-wait 30s)
patience="[plugins.'io.containerd.nri.v1.nri']
  plugin_request_timeout = '60s'"
CONTAINERD_CONFIG="[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun.options]
  BinaryName = '$work/bin/crun'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.kata-none]
  runtime_type = 'io.containerd.runc.v2'
$patience"
runtime=containerd runtime_config=/etc/containerd/config.toml
start_containerd() { node_folders && network_up && crun_up && containerd_up; }
start_plugin() { daemon_up && plugin_up; }

set_up start_containerd
check plugin starts start_plugin
kinds view
restarts
for folder in "${@:3}"; do older_checks "$folder"; done
crio_checks
