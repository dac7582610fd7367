node_down() { :; }
{ enter_own_cgroup && control_plane_up; } || fail
"$@"
