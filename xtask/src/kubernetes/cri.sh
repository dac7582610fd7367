# Pods by containerd or CRI-O alone, as a kubelet would ask for them, but without one. Comes after containerd.sh.
#
#   pod_begin POD [KEY=VALUE…]             a pod; prints nothing, and is known by its name from then on
#   container_begin POD NAME [KEY=VALUE…] -- COMMAND…
#   container_in POD NAME COMMAND…         what `kubectl exec` does
#   container_pid POD NAME                 its first process, as this machine counts
#   container_state POD NAME               CONTAINER_RUNNING, CONTAINER_EXITED…
#   container_end POD NAME                 stopped and removed
#   pod_end POD
#
# Keys of pods: namespace, labels, annotations (JSON), pid=pod|node, users=own, network=node|own,
# memory, quota (of the whole pod), handler, privileged=true. Keys of containers: memory (bytes), quota (of
# 100000), pid=container|pod|node|target:CONTAINER, privileged=true, annotations, mounts (JSON).
#
# Ids are kept in files, as a check runs in a shell of its own.
pod_id() { cat "$work/pods/$1.id"; }
container_id() { cat "$work/pods/$1.$2.id"; }

pod_begin() {
    local name=$1 namespace=default labels='{}' annotations='{}' pid=container users=node network=node
    local memory='' quota='' handler='' privileged=false key
    for key in "${@:2}"; do local "${key%%=*}=${key#*=}"; done
    mkdir -p "$work/pods" && pod_config >"$work/pods/$name.json" || return
    make_cgroup "$place/pods/$name" "$memory" "$quota" || return
    # shellcheck disable=SC2086 # two words or none
    within crictl runp ${handler:+--runtime $handler} "$work/pods/$name.json" >"$work/pods/$name.id"
}
pod_config() {
    jq -n --arg name "$name" --arg namespace "$namespace" --argjson labels "$labels" \
        --argjson annotations "$annotations" --argjson options "$(namespace_options)" \
        --argjson privileged "$privileged" --arg parent "/$place/pods/$name" --arg log "$work/pods/$name" '{
            metadata: {$name, uid: $name, $namespace, attempt: 0}, log_directory: $log, hostname: $name,
            labels: ({"io.kubernetes.pod.name": $name, "io.kubernetes.pod.namespace": $namespace,
                "io.kubernetes.pod.uid": $name} + $labels),
            $annotations,
            linux: {cgroup_parent: $parent, security_context: {namespace_options: $options, $privileged}}
        } | if $options.network == 2 then del(.hostname) else . end'
}
# The numbers of the protocol: 0 the pod's, 1 the container's, 2 the node's, 3 that of another container.
namespace_options() {
    jq -n --arg pid "$pid" --arg network "$network" --arg users "$users" '
        {pid: (if $pid == "pod" then 0 elif $pid == "node" then 2
               elif $pid | startswith("target:") then 3 else 1 end),
         network: (if $network == "node" then 2 else 0 end)}
        + if $pid | startswith("target:") then {target_id: ($pid | ltrimstr("target:"))} else {} end
        + if $users == "own" then {userns_options: {mode: 0,
            uids: [{host_id: 1000000, container_id: 0, length: 65536}],
            gids: [{host_id: 1000000, container_id: 0, length: 65536}]}} else {} end'
}

container_begin() {
    container_create "$@" && container_start "$1" "$2"
}
container_create() {
    local pod=$1 name=$2 memory='' quota='' pid='' privileged=false annotations='{}' mounts='[]'
    local namespace users network config
    shift 2
    namespace=$(jq -r .metadata.namespace "$work/pods/$pod.json")
    # Those of the pod, where the container says nothing else.
    users=$(jq -r 'if .linux.security_context.namespace_options.userns_options then "own" else "node" end' \
        "$work/pods/$pod.json")
    network=$(jq -r 'if .linux.security_context.namespace_options.network == 2 then "node" else "own" end' \
        "$work/pods/$pod.json")
    [ -n "$pid" ] || pid=$(jq -r '["pod", "container", "node"][.linux.security_context.namespace_options.pid]' \
        "$work/pods/$pod.json")
    while [ "$1" != -- ]; do
        local "${1%%=*}=${1#*=}"
        shift
    done
    shift
    case $pid in target:*) pid=target:$(container_id "$pod" "${pid#target:}") ;; esac
    config=$work/pods/$pod.$name.json
    container_config "$@" >"$config" &&
        within crictl create "$(pod_id "$pod")" "$config" "$work/pods/$pod.json" >"${config%.json}.id"
}
container_start() { within crictl start "$(container_id "$1" "$2")" >/dev/null; }
container_config() {
    jq -n --arg name "$name" --arg pod "$pod" --arg namespace "$namespace" --arg image "$image_name" \
        --argjson options "$(namespace_options)" --argjson annotations "$annotations" --argjson mounts "$mounts" --argjson privileged "$privileged" \
        --arg memory "$memory" --arg quota "$quota" --args '{
            metadata: {$name, attempt: 0}, image: {$image}, command: $ARGS.positional, $annotations, $mounts,
            labels: {"io.kubernetes.container.name": $name, "io.kubernetes.pod.name": $pod,
                "io.kubernetes.pod.namespace": $namespace, "io.kubernetes.pod.uid": $pod}, log_path: ($name + ".log"),
            linux: {
                resources: ({}
                    + if $memory == "" then {} else {memory_limit_in_bytes: ($memory | tonumber)} end
                    + if $quota == "" then {} else {cpu_period: 100000, cpu_quota: ($quota | tonumber)} end),
                security_context: {namespace_options: $options, $privileged}
            }
        }' -- "$@"
}
container_in() { within crictl exec --sync "$(container_id "$1" "$2")" "${@:3}"; }
container_pid() { crictl inspect --output json "$(container_id "$1" "$2")" | jq .info.pid; }
container_state() { crictl inspect --output json "$(container_id "$1" "$2")" | jq -r .status.state; }
container_end() { within crictl rm --force "$(container_id "$1" "$2")" >/dev/null; }
pod_end() { within crictl rmp --force "$(pod_id "$1")" >/dev/null; }

# The pod's own cgroup, which a kubelet makes.
make_cgroup() { # PATH MEMORY QUOTA
    local hierarchy dir file
    for hierarchy in $(hierarchies); do
        mkdir -p "$hierarchy/$1" || return
        for dir in "$(dirname "$1")" "$1"; do
            for file in cpuset.cpus cpuset.mems; do
                [ ! -e "$hierarchy/$file" ] || cat "$hierarchy/$file" >"$hierarchy/$dir/$file" || return
            done
            give_controllers "$hierarchy/$(dirname "$dir")" || return
        done
        limit "$hierarchy/$1" memory.max "$2" && limit "$hierarchy/$1" memory.limit_in_bytes "$2" &&
            limit "$hierarchy/$1" cpu.cfs_quota_us "$3" && limit "$hierarchy/$1" cpu.max "${3:+$3 100000}" || return
    done
}
give_controllers() { # CGROUP
    local controller
    [ -e "$1/cgroup.controllers" ] || return 0
    for controller in $(cat "$1/cgroup.controllers"); do
        echo "+$controller" >"$1/cgroup.subtree_control" || return
    done
}
limit() { # CGROUP FILE VALUE
    [ -z "$3" ] || [ ! -e "$1/$2" ] || echo "$3" >"$1/$2"
}
