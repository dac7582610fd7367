# What breaks and comes back: the plugin, the agent, the runtime. Every pod ends up right, once.

restarts() {
    check plugin finds_what_already_runs existing
    check plugin is_killed_20_times_while_50_pods_start killed_while 20 50
    check plugin may_be_there_twice twice
    check plugin may_be_silent_for_a_while silent
    check plugin finds_the_runtime_after_its_restart runtime_again TERM
    check plugin finds_the_runtime_after_its_death runtime_again KILL
    check plugin lives_in_the_daemon in_the_daemon
}

plugin_up() {
    begin_program nri resview nri "${wait[@]}" && wait_while nri registered nri
}
plugin_down() { end_program nri "${1:-KILL}"; }
# The plugin itself, and no one before it.
registered() { # NAME
    [ "$(resview status --json | jq .nri.pid)" = "$(cat "$work/$1.pid")" ]
}
daemon_up() { # [OPTION…]
    begin_program resview resview daemon "$@" && wait_while resview within resview status >/dev/null
}

ends_up_right() { wait_for is_right "$@" >/dev/null || is_right "$@"; }
is_right() { # POD CONTAINER: as it is now, however it came about
    local now
    now=$(container_in "$1" "$2" sh -c "$look") && [ "$(head -n 2 <<<"$now")" = $'MemTotal: 131072 kB\n1' ] &&
        grep -qx /proc/vmstat <<<"$now" && [ "$(uniq -d <<<"$now")" = '' ] || { echo "$1: $now"; return 1; }
}
# One pod more for each check, and none afterwards.
with_a_pod() { # POD COMMAND…
    local status
    start "$1" && "${@:2}"
    status=$?
    pod_end "$1" && return $status
}
start() { # POD
    pod_begin "$1" && limited "$1" main -- sleep 2000
}

existing() { plugin_down && with_a_pod early found_later; }
found_later() { has_no_view early main && plugin_up && ends_up_right early main; }

killed_while() { # TIMES PODS
    local number pods right=0
    (for number in $(seq "$2"); do start "many-$number" || exit; done) &
    pods=$!
    for number in $(seq "$1"); do
        plugin_down && begin_program nri resview nri "${wait[@]}" || return
        # Sometimes before it is registered, sometimes while it attaches.
        sleep "0.$((number % 8))"
    done
    wait $pods && plugin_down && plugin_up || return
    for number in $(seq "$2"); do ends_up_right "many-$number" main && right=$((right + 1)); done
    for number in $(seq "$2"); do pod_end "many-$number" || return; done
    [ "$right" = "$2" ] || { echo "$right of $2 are right"; return 1; }
}

twice() {
    begin_program second resview nri "${wait[@]}" && sleep 1 && gives_the_view
    local status=$?
    end_program second && return $status
}

# Longer than a runtime waits unless told otherwise: it starts the container without us, and closes the connection.
silent() {
    local status
    runtime_waits 2s && with_a_pod mute heard_again
    status=$?
    runtime_waits 60s && return $status
}
runtime_waits() { # TIME
    sed -i "s/plugin_request_timeout = .*/plugin_request_timeout = '$1'/" "$runtime_config" &&
        runtime_restart "$runtime" && wait_for registered nri
}
heard_again() {
    local pid
    pid=$(cat "$work/nri.pid") && kill -STOP "$pid" && { sleep 3.5 && kill -CONT "$pid"; } &
    begin mute second memory=$memory quota=100000 -- sleep 2000 && ends_up_right mute second && wait
}

runtime_again() { # SIGNAL
    with_a_pod before over_the_restart "$1"
}
over_the_restart() { # SIGNAL
    runtime_restart "$runtime" "$1" && wait_for registered nri && is_right before main && gives_the_view
}

in_the_daemon() {
    plugin_down && end_program resview TERM && daemon_up --nri "${wait[@]}" && wait_for in_the_agent &&
        gives_the_view && with_a_pod before over_the_agents_death
}
in_the_agent() { [ "$(resview status --json | jq '.nri.pid > 0')" = true ]; }
# It is started again, and its plugin with it.
over_the_agents_death() {
    kill -KILL "$(resview status --json | jq .nri.pid)" && with_a_pod later ends_up_right later main &&
        is_right before main
}
