node_down() { runtime_down containerd; }
{ enter_own_cgroup && node_folders && network_up && containerd_up; } || fail
"$@"
