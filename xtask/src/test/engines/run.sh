# Every engine with everything that is promised of it. Comes after the other files here.

engines=(docker docker-cdi podman-runc podman-cdi podman-crun containerd oci-runc oci-crun lxc)
inside="$(cat <<'END'
@INSIDE@
END
)"
host_memory=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)

# `of ENGINE WORD ARGUMENT…`: what an engine's file here says about WORD.
of() {
    local variant=${1#*-}
    "${1%%-*}_$2" "${@:3}"
}
name() { echo "engines-$engine-$1"; }
memory() { of "$engine" in "$(name "$1")" sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
has_view() { [ "$(memory "$1")" = 262144 ] || { echo "MemTotal: $(memory "$1")"; false; }; }
has_host() { [ "$(memory "$1")" = "$host_memory" ] || { echo "MemTotal: $(memory "$1")"; false; }; }

# Keeps what its first instruction has read.
begin() { of "$engine" begin "$(name "$1")" "$2" sh -c 'cat /proc/meminfo /proc/vmstat >/tmp/first; exec sleep 100000'; }
first_read() {
    wait_for of "$engine" in "$(name "$1")" grep -q ^pgfault /tmp/first &&
        of "$engine" in "$(name "$1")" grep '^MemTotal: *262144 kB' /tmp/first
}
look_inside() { # CONTAINER
    local output line pressure
    pressure=$(sed -n 's/^some .*total=//p' /proc/pressure/cpu)
    output=$(of "$engine" in "$(name "$1")" sh -c "$inside" inside "$pressure" $((SECONDS + 1)) 2>&1)
    while read -r line; do
        case $line in
            *' ok') count "$engine" "${line% ok}" ok ;;
            *' FAILED: '*) count "$engine" "${line%% *}" FAILED ;;
        esac
    done <<<"$output"
    grep -v ' ok$' <<<"$output"
    # All of them, in case the script ends too soon.
    check "$engine" all_were_read [ "$(grep -c '^[a-z]* ok$' <<<"$output")" = 11 ]
}
is_listed() { # CONTAINER
    local kind=${engine%%-*}
    [ "$kind" != oci ] || kind=${engine#*-}
    resview list "$(name "$1")" --json | tee /dev/stderr | jq --exit-status --slurp \
        --arg name "$(name "$1")" --arg kind "$kind" 'any(
            .container.engine == $kind and (.files | length) > 10
            and ([.container.id] + .container.names | index([$name])) != null
        )'
}

# What is not installed is skipped by name, and in CI that is a failure.
leave_out_missing() {
    local engine program all=("${engines[@]}")
    engines=()
    for engine in "${all[@]}"; do
        for program in $(programs_of "$engine"); do
            command -v "$program" >/dev/null && continue
            echo "SKIPPED $engine: $program is not installed"
            [ "${CI-}" = true ] && count "$engine" up FAILED || count "$engine" up ok
            continue 2
        done
        if is_able "$engine"; then engines+=("$engine"); else echo "left out: $engine, by its version"; fi
    done
}
# What the version that is installed cannot do anywhere, or on this machine, is no failure of ours.
is_able() { # ENGINE
    case $1 in
        docker-cdi) docker_is 25 ;;
        lxc) knows_cgroups "$(lxc-start --version)" ;;
        *) true ;;
    esac
}
# From 7 on, LXC and LXCFS know cgroup v2 only.
knows_cgroups() { # VERSION
    [ -e /sys/fs/cgroup/cgroup.controllers ] || dpkg --compare-versions "$1" lt 7
}
# From 6 on, LXCFS refuses everything where it may not read this file of pid 1: for one without all of
# that one's capabilities.
lxcfs_can() {
    local version
    version=$(lxcfs --version 2>&1 | tr -d '"')
    knows_cgroups "$version" && { dpkg --compare-versions "$version" lt 6 || cat /proc/1/personality >/dev/null; }
}
has_engine() { [[ " ${engines[*]} " == *" $1 "* ]]; }
programs_of() { # ENGINE
    case $1 in
        docker | docker-cdi) echo dockerd docker containerd ;;
        podman-crun) echo podman crun ;;
        podman-*) echo podman runc ;;
        containerd) echo containerd ctr runc ;;
        oci-*) echo "${1#oci-}" ;;
        lxc) echo lxc-start ;;
    esac
}
is_in_container_tree() { grep '^MemTotal: *262144 kB' "/run/resview/containers/$(name "$1")/proc/meminfo"; }

with_the_daemon() {
    check "$engine" up of "$engine" up
    check "$engine" starts begin view view
    check "$engine" first_instruction first_read view
    look_inside view
    check "$engine" listed is_listed view
    # What LXC's hook lays is the shared tree: nobody has registered the container.
    [ "$engine" = lxc ] || check "$engine" in_container_tree is_in_container_tree view
    check "$engine" starts_plain begin plain plain
    check "$engine" plain_has_host has_host plain
    check "$engine" attach resview attach "$(name plain)"
    check "$engine" attached has_view plain
    check "$engine" detach resview detach "$(name plain)"
    check "$engine" detached has_host plain
}
without_the_daemon() {
    check "$engine" fails_open begin open view
    check "$engine" open_has_host has_host open
}
uninstalled() {
    check "$engine" stops of "$engine" stop "$(name view)"
    check "$engine" uninstall of "$engine" uninstall
    check "$engine" starts_again of "$engine" start "$(name view)"
    check "$engine" again_has_host has_host view
    of "$engine" end "$(name view)" "$(name plain)" "$(name open)" >/dev/null 2>&1
}

trap clean_up EXIT
clean_up
make_surroundings || { echo "cannot make the surroundings"; exit 1; }
rootfs=$work/rootfs
mkdir "$rootfs" && tar -C "$rootfs" -xf "$image" || exit
hide_cgroup2
start_daemon || { tail "$work/daemon.log"; exit 1; }
leave_out_missing
for engine in "${engines[@]}"; do with_the_daemon; done
if has_engine docker; then
    check docker as_default docker_default
    if lxcfs_can; then heal_lxcfs; else echo "left out: the healing of LXCFS's containers, by its version"; fi
fi
check daemon stops stop_daemon
for engine in "${engines[@]}"; do without_the_daemon; done
! has_engine docker || stand_in_for_lxcfs
for engine in "${engines[@]}"; do uninstalled; done

print_table
conclude tail -n 30 "$work"/*.log
