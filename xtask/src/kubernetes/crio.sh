# CRI-O with NRI, as it is by default, in the place of containerd. Wants crio, pinns, conmon and podman in PATH.
# Comes after containerd.sh.
crio_address=/run/crio/crio.sock

# The configuration says that there is no systemd, and where things are; and how many processes a container may
# have, as an older crun does not understand that there is no limit. The rest is by default.
crio_up() {
    mkdir -p /etc/crio && cat >/etc/crio/crio.conf <<END || return
[crio.runtime]
default_runtime = "runc"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pids_limit = 4096
hooks_dir = []
pinns_path = "$(command -v pinns)"
[crio.image]
pause_image = "$pause_name"
pause_command = ""
signature_policy = "$work/policy.json"
[crio.network]
plugin_dirs = ["$(dirname "$(command -v host-local)")"]
${CRIO_CONFIG-}
END
    echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
    pod_network && crictl_asks "$crio_address" && begin_crio || return
    # It waits for a minute before it kills, even when it is told to at once.
    stop_signal=SIGKILL import_images podman load --quiet --input
}
begin_crio() { begin_runtime crio --config /etc/crio/crio.conf --config-dir ''; }
