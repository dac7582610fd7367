node_down() { kubelet_down; runtime_down containerd; }
{ enter_own_cgroup && node_folders && control_plane_up && scheduler_up && containerd_up && kubelet_up; } || fail
"$@"
