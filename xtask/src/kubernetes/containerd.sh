# containerd with its CRI service and NRI, as it is by default, and runc. Wants their programs in PATH, $work:
# an empty directory, and $image: the root of containers as a tar archive. Comes after control-plane.sh.
image_name=localhost/test:1
pause_name=localhost/pause:1
export CONTAINERD_ADDRESS=/run/containerd/containerd.sock CONTAINERD_NAMESPACE=k8s.io

# A node's folders, over those of this machine. Mounts that pods make in the root have to reach it.
node_folders() {
    local dir
    mount --make-rshared /
    for dir in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs "$dir" || return; done
    # On a disk, as a pod that writes there is charged for memory that cannot be written back.
    mkdir -p "$work/opt" && mount --bind "$work/opt" /opt || return
    for dir in etc usr; do
        mkdir -p "$work/over/$dir"
    done
    mount -t tmpfs -o mode=755 tmpfs "$work/over" || return
    for dir in etc usr; do
        mkdir -p "$work/over/$dir/upper" "$work/over/$dir/work" || return
        mount -t overlay -o "lowerdir=/$dir,upperdir=$work/over/$dir/upper,workdir=$work/over/$dir/work" overlay "/$dir" ||
            return
    done
    mkdir -p /run/lock /etc/cni /var/lib/resview && mount -t tmpfs tmpfs /etc/cni && mkdir /etc/cni/net.d
}
crictl_asks() { # ADDRESS
    printf '%s\n' "runtime-endpoint: unix://$1" "image-endpoint: unix://$1" 'timeout: 60' >/etc/crictl.yaml
}

# Pods in a network of their own, each with a pair of interfaces.
pod_network() {
    cat >/etc/cni/net.d/10-ptp.conflist <<'END'
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp",
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
}

# The configuration says what this machine does not allow, and where pause is. The rest is by default.
containerd_up() {
    mkdir -p /etc/containerd && cat >/etc/containerd/config.toml <<END || return
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "$pause_name"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["$(dirname "$(command -v host-local)")"]
${CONTAINERD_CONFIG-}
END
    pod_network && crictl_asks "$CONTAINERD_ADDRESS" && begin_containerd && import_images ctr image import --local
}
begin_containerd() { begin_runtime containerd --config /etc/containerd/config.toml; }

# The same for every runtime: its program has its name, and begin_NAME begins it.
begin_runtime() { # NAME OPTION…
    begin_program "$1" "$@"
    wait_while "$1" within crictl version
} >/dev/null 2>&1
# Its containers go on.
runtime_restart() { # NAME [SIGNAL]
    end_program "$1" "${2:-TERM}" && "begin_$1"
}
runtime_down() { # NAME
    crictl rmp --all --force >/dev/null 2>&1
    end_program "$1" TERM
}

import_images() { # COMMAND… that takes an archive
    mkdir -p "$work/pause/bin" && cp "$(command -v busybox)" "$work/pause/bin/pause" || return
    ln -sf pause "$work/pause/bin/sleep" && tar -C "$work/pause" -cf "$work/pause.tar" . || return
    import_image "$pause_name" "$work/pause.tar" '"/bin/sleep","2147483647"' "$@" &&
        import_image "$image_name" "$image" '"/bin/sh"' "$@"
}
# An image of one layer, as `docker save` makes it.
import_image() { # NAME ARCHIVE COMMAND COMMAND…
    local digest dir=$work/import
    rm -rf "$dir" && mkdir "$dir" && ln -s "$(readlink -f "$2")" "$dir/layer.tar" || return
    digest=$(sha256sum "$2" | cut -d ' ' -f 1) || return
    cat >"$dir/config.json" <<END
{"architecture":"$(architecture)","os":"linux","config":{"Cmd":[$3],${stop_signal:+"\"StopSignal\":\"$stop_signal\","}
"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
"rootfs":{"type":"layers","diff_ids":["sha256:$digest"]}}
END
    echo "[{\"Config\":\"config.json\",\"RepoTags\":[\"$1\"],\"Layers\":[\"layer.tar\"]}]" >"$dir/manifest.json"
    tar -C "$dir" -chf "$dir/image.tar" manifest.json config.json layer.tar &&
        "${@:4}" "$dir/image.tar" && rm -rf "$dir"
} >/dev/null
architecture() { go_name "$(uname -m)"; }
go_name() {
    case $1 in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) echo "$1" ;;
    esac
}
