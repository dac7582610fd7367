# Runtimes before containerd 2.3: they tell of a start in another form, and those before 1.7.26 may let a container
# start unseen while a plugin registers.
#
# Wants the folder of another suite with a containerd in it.

older_checks() { # FOLDER
    local name
    name=$(older_name "$1") && runtime_down containerd >/dev/null 2>&1
    check "$name" starts older_up "$1"
    check "$name" gives_the_view gives_the_view
    check "$name" finds_what_already_runs existing
    check "$name" leaves_alone_the_hosts_pid_namespace is_left_alone pid=node
    check "$name" misses_nobody killed_while 5 15
}
older_name() { "$1/usr/bin/containerd" --version | sed -E 's/.* v?([0-9]+\.[0-9]+)\.[0-9]+.*/containerd-\1/'; }

older_up() { # FOLDER
    local program bin=$work/older
    # Where the programs of the other suite are, everything else is as well.
    rm -rf "$bin" && mkdir "$bin" || return
    for program in containerd containerd-shim-runc-v2 ctr; do ln -s "$1/usr/bin/$program" "$bin" || return; done
    mkdir -p /var/lib/containerd && mount -t tmpfs tmpfs /var/lib/containerd || return
    # What 1.7 understands, and 2 as well. NRI is not on by default in the former.
    cat >/etc/containerd/config.toml <<END
version = 2
$patience
  disable = false
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause_name"
  restrict_oom_score_adj = true
  disable_apparmor = true
END
    PATH=$bin:$PATH begin_containerd && PATH=$bin:$PATH import_images ctr image import --local || return
    plugin_down && end_program resview TERM && daemon_up && plugin_up
}
