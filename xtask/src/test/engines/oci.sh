# runc and crun without an engine: the hook stands in config.json.

oci_up() { resview install oci --view opt-in; }
oci() {
    # shellcheck disable=SC2086 # several words
    case $variant in
        crun) within $without_cgroup2 crun "$@" ;;
        *) within runc "$@" ;;
    esac
}
oci_begin() { # NAME view|plain COMMAND…
    mkdir -p "$work/$1" && specification "$@" >"$work/$1/config.json" && oci_start "$1"
}
# What runs in it keeps the output open: a file, not the pipe that whoever asks reads to its end.
oci_start() {
    oci run --detach --bundle "$work/$1" "$1" >"$work/$1.log" 2>&1 </dev/null && return
    cat "$work/$1.log"
    return 1
}
oci_in() { oci exec "$@"; }
oci_stop() { oci kill "$1" KILL && wait_for oci delete "$1"; }
oci_uninstall() { resview uninstall oci; }
oci_end() {
    local name
    for name in "$@"; do oci_stop "$name"; done
}

specification() { # NAME view|plain COMMAND…
    jq -n --arg name "$1" --arg view "$2" --arg rootfs "$rootfs" --arg cgroup "/$place/$1" --arg path "PATH=$PATH" '
def hook($stage): [{
  path: "/usr/lib/resview/oci-hook", args: ["resview", "oci-hook", $stage], timeout: 10
}];
{
  ociVersion: "1.0.2",
  root: { path: $rootfs },
  process: { cwd: "/", env: [$path], user: { uid: 0, gid: 0 }, args: $ARGS.positional },
  mounts: [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs" },
    { destination: "/tmp", type: "tmpfs", source: "tmpfs" }
  ],
  linux: {
    # As engines have it: without masks, the view is left out or comes later, for the sake of nesting.
    maskedPaths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
    namespaces: ["pid", "mount", "ipc", "uts", "network"] | map({ type: . }),
    cgroupsPath: $cgroup,
    resources: { memory: { limit: 268435456 }, cpu: { quota: 100000, period: 100000 } }
  }
} + if $view == "view" then { hooks: { createRuntime: hook("createRuntime"), poststop: hook("poststop") } }
    else {} end' --args -- "${@:3}"
}
