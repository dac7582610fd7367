# containerd by ctr, with the wrapper as runtime.

containerd_up() {
    resview install containerd || return
    if ! [ -S /run/containerd/containerd.sock ]; then
        containerd >"$work/containerd.log" 2>&1 &
        wait_for within ctr version >/dev/null || return
    fi
    image_archive && within ctr image import "$work/image.tar"
}
containerd_begin() { # NAME view|plain COMMAND…
    local flag=
    [ "$2" = plain ] || flag='--runc-binary /usr/bin/resview-runtime'
    # shellcheck disable=SC2086 # two words
    within ctr run --detach --cgroup "/$place/containerd/$1" $flag --memory-limit 268435456 --cpus 1 \
        docker.io/library/engines:latest "$1" "${@:3}"
}
containerd_in() { within ctr task exec --exec-id "in$RANDOM" "$@"; }
containerd_stop() { within ctr task kill -s KILL "$1" && wait_for within ctr task rm "$1"; }
containerd_start() { within ctr task start --detach "$1"; }
containerd_uninstall() { resview uninstall containerd; }
containerd_end() {
    local name
    for name in "$@"; do
        containerd_stop "$name"
        within ctr container rm "$name"
    done
}

# An image as `docker save` makes it, of one layer.
image_archive() {
    local digest dir=$work/archive
    mkdir -p "$dir" && digest=$(sha256sum "$image" | cut -d ' ' -f 1) && cp "$image" "$dir/layer.tar" || return
    printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=%s"]},' "$architecture" "$PATH" >"$dir/config.json"
    printf '"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$digest" >>"$dir/config.json"
    echo '[{"Config":"config.json","RepoTags":["docker.io/library/engines:latest"],"Layers":["layer.tar"]}]' \
        >"$dir/manifest.json"
    tar -C "$dir" -cf "$work/image.tar" manifest.json config.json layer.tar
}
architecture=$(dpkg --print-architecture)
