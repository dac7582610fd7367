trap end EXIT
end() {
    node_down
    control_plane_down
    clean_up
}
fail() {
    echo "it does not start: see the logs" >&2
    tail -n 3 "$work"/*.log >&2
    exit 1
}
