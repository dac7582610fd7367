# Docker, with the wrapper as runtime, and with a CDI device.

docker_up() {
    [ "$variant" = cdi ] && { resview install cdi; return; }
    if docker_is 25 && ! docker_is 28.2; then
        mkdir -p /etc/docker && echo '{ "features": { "cdi": true } }' >/etc/docker/daemon.json || return
    fi
    resview install docker || return
    dockerd --cgroup-parent "/$place/docker" --bridge=none --iptables=false --ip6tables=false >"$work/dockerd.log" 2>&1 &
    wait_for within docker version >/dev/null && docker import "$image" engines >/dev/null
}
docker_begin() { # NAME view|plain COMMAND…
    local flag=
    case $2-$variant in
        view-cdi) flag='--device resview.dev/view=on' ;;
        view-*) flag='--runtime resview' ;;
    esac
    # shellcheck disable=SC2086 # two words
    within docker run --detach --name "$1" $flag -m 256m --cpus 1 engines "${@:3}"
}
docker_in() { within docker exec "$@"; }
docker_stop() { within docker stop -t 0 "$1"; }
docker_start() { within docker start "$1"; }
# Every container has the view, but for those that say no. Then as before.
docker_default() {
    resview install docker --default && docker_reload && wait_for has_default resview || return
    within docker run --rm -m 256m engines free -m | grep '^Mem: *256 ' || return
    within docker run --rm -m 256m -e RESVIEW_VIEW=off engines free -m | not grep '^Mem: *256 ' || return
    resview uninstall docker && resview install docker && docker_reload && wait_for has_default runc
}
docker_reload() { kill -HUP "$(cat /run/docker.pid)"; }
# Docker reads the file some time after the signal.
has_default() { [ "$(docker info --format '{{.DefaultRuntime}}')" = "$1" ]; }
docker_uninstall() {
    [ "$variant" = cdi ] && { resview uninstall cdi; return; }
    resview uninstall docker && docker_reload && wait_for has_real_runtime
}
has_real_runtime() { docker info --format '{{.Runtimes.resview.Path}}' | grep -qv /usr/bin/resview-runtime; }
docker_end() { within docker rm -f "$@"; }
# CDI devices came with 25, where they are switched on, and need no word from 28.2 on.
docker_is() { # AT LEAST THIS VERSION
    local version
    # The client may be another version.
    version=$(dockerd --version | sed 's/^Docker version \([0-9.]*\).*/\1/')
    dpkg --compare-versions "$version" ge "$1"
}
