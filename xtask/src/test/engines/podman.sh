# Podman: with the hook in hooks.d, and with a CDI device; with runc, and with crun.

# Its own limits need CAP_SYS_RESOURCE, which the tests may lack.
podman_up() {
    [ ! -e /etc/containers/containers.conf ] || return 0
    printf '%s\n' '[containers]' 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]' \
        '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "file"' >/etc/containers/containers.conf
    resview install oci --view opt-in && resview install cdi && podman import "$image" engines
}
podman() {
    # shellcheck disable=SC2086 # several words
    case $variant in
        crun) within $without_cgroup2 podman --runtime crun "$@" ;;
        *) within podman --runtime runc "$@" ;;
    esac
}
podman_begin() { # NAME view|plain COMMAND…
    local flag=
    case $2-$variant in
        view-cdi) flag='--device resview.dev/view=on' ;;
        view-*) flag='--annotation resview.dev/view=on' ;;
    esac
    # shellcheck disable=SC2086 # two words
    podman run --detach --cgroup-parent "/$place/podman" --network none --name "$1" $flag -m 256m --cpus 1 engines "${@:3}"
}
podman_in() { podman exec "$@"; }
podman_stop() { podman stop -t 0 "$1"; }
podman_start() { podman start "$1"; }
podman_uninstall() { resview uninstall oci && resview uninstall cdi; }
podman_end() { podman rm -f -t 0 "$@"; }
