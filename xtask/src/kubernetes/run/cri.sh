node_down() { containerd_down; }
{ enter_own_cgroup && node_folders && network_up && containerd_up; } || fail
"$@"
