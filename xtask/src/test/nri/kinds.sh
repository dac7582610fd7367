# Pods of every kind: what the first instruction of a container sees, or that it is left alone.

# shellcheck disable=SC2016 # for the container's shell
# What a container does first, and no later, is to look. What it sees is in its log.
look='head -n 1 /proc/meminfo | tr -s " "; grep -c ^processor /proc/cpuinfo
awk "/ - fuse[^ ]* / { print \$5 }" /proc/self/mountinfo | sort; echo looked'
first="$look"'; exec sleep 2000'
seen() { # POD CONTAINER: the log, without what the runtime adds to each line, and warnings of its own
    wait_for grep -qs looked "$work/pods/$1/$2.log" && sed -n 's/^[^ ]* stdout [^ ]* //p' "$work/pods/$1/$2.log"
}
# The limits below, and the files that runc would not let a pod's own mounts cover besides the usual ones.
memory=134217728
saw_the_view() { # POD CONTAINER
    local log
    log=$(seen "$1" "$2") && [ "$(head -n 2 <<<"$log")" = $'MemTotal: 131072 kB\n1' ] &&
        for path in /proc/cpuinfo /proc/meminfo /proc/stat /proc/uptime /proc/vmstat ${pressure+/proc/pressure}; do
            grep -qx "$path" <<<"$log" || { echo "no view at $path"; false; } || return
        done && [ "$(uniq -d <<<"$log")" = '' ] || { echo "$log"; return 1; }
}
# A kernel may be without.
[ ! -e /proc/pressure ] || pressure=
limited() { begin "$1" "$2" memory=$memory quota=100000 "${@:3}"; }
# Logs outlive containers, and would be those of others of the same name.
begin() { rm -f "$work/pods/$1/$2.log" && container_begin "$@"; }
gets_the_view() { # POD CONTAINER [KEY=VALUE…]
    limited "$@" -- sh -c "$first" && saw_the_view "$1" "$2"
}
has_no_view() { # POD CONTAINER
    local now
    now=$(container_in "$1" "$2" sh -c "$look") && [ "$(sed -n 3p <<<"$now")" = looked ] || { echo "$now"; return 1; }
}
# A pod of its own for what is tried, and none afterwards.
in_a_pod() { # COMMAND [KEY=VALUE…]
    local status
    pod_begin one "${@:2}" && $1
    status=$?
    pod_end one && return $status
}
gives_the_view() { in_a_pod "gets_the_view one main" "$@"; }
is_left_alone() { in_a_pod has_none "$@"; }
has_none() { limited one main -- sleep 2000 && has_no_view one main; }

kinds() { # NAME
    check "$1" reaches_init_containers init_container
    check "$1" reaches_containers gets_the_view web main
    check "$1" reaches_sidecars gets_the_view web sidecar
    check "$1" reaches_ephemeral_containers gets_the_view web debugger pid=target:main
    check "$1" reaches_a_shared_pid_namespace gives_the_view pid=pod
    check "$1" reaches_static_pods gives_the_view annotations='{"kubernetes.io/config.source": "file"}'
    check "$1" reaches_privileged_containers gives_the_view privileged=true
    check "$1" reaches_user_namespaces gives_the_view users=own network=own
    check "$1" reaches_crun gives_the_view handler=crun
    check "$1" shows_the_limit_of_the_pod in_a_pod sees_the_pods memory=$((2 * memory))
    check "$1" follows_a_resize resize
    check "$1" leaves_alone_the_hosts_pid_namespace is_left_alone pid=node
    check "$1" leaves_alone_kube-system is_left_alone namespace=kube-system
    check "$1" leaves_alone_other_kernels is_left_alone handler=kata-none
    check "$1" leaves_alone_who_says_so is_left_alone annotations='{"resview.dev/view": "off"}'
    check "$1" is_forgotten_with_the_container forgotten
}
# It comes to its end before the pod's others begin.
init_container() {
    pod_begin web && limited web init -- sh -c "$look" && saw_the_view web init
}
sees_the_pods() {
    local log
    begin one main -- sh -c "$first" && log=$(seen one main) && [ "${log%%$'\n'*}" = 'MemTotal: 262144 kB' ] ||
        { echo "$log"; return 1; }
}
resize() {
    crictl update --memory $((memory / 2)) "$(container_id web main)" >/dev/null &&
        [ "$(container_in web main sh -c "$look" | head -n 1)" = 'MemTotal: 65536 kB' ]
}
forgotten() {
    local id
    id=$(container_id web main) && resview list --json | grep -q "$id" || return
    pod_end web && wait_for not is_listed "$id"
}
is_listed() { resview list --json | grep -q "$1"; }
