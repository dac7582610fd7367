# How pods are made and looked at on the node.

# A pod's spec with one container, which reads as its first instruction; what is given is added to the spec, or
# to the container.
spec() { # [SPEC [CONTAINER]]
    jq -n --argjson spec "${1-{\}}" --argjson container "${2-{\}}" --arg image "$image_name" '{
        terminationGracePeriodSeconds: 0, automountServiceAccountToken: false,
        containers: [{name: "main", $image, imagePullPolicy: "Never",
            command: ["sh", "-c", "cat /proc/meminfo /proc/vmstat >/tmp/first; exec sleep 100000"]} + $container]
    } + $spec'
}
# 256 MiB and one CPU. Without the requests, there would be no more pods than CPUs.
limits='{"resources": {"limits": {"memory": "256Mi", "cpu": "1"}, "requests": {"memory": "8Mi", "cpu": "10m"}}}'
begin_pod() { # NAME SPEC [METADATA [NAMESPACE]]
    jq -n --arg name "$1" --argjson spec "$2" --argjson metadata "${3-null}" '{apiVersion: "v1", kind: "Pod",
        metadata: ({$name} + ($metadata // {})), $spec}' | within kubectl create --namespace "${4-default}" -f - &&
        within kubectl wait --for=condition=Ready --timeout=240s --namespace "${4-default}" "pod/$1" && return
    kubectl describe --namespace "${4-default}" "pod/$1" | sed '1,/^Events/d'
    return 1
}
in_pod() { # POD COMMAND… (a pod of another namespace: NAMESPACE/POD)
    local namespace=default pod=$1
    case $1 in */*) namespace=${1%/*} pod=${1#*/} ;; esac
    within kubectl exec --namespace "$namespace" "$pod" -c "${container-main}" -- "${@:2}"
}
memory_of() { in_pod "$1" sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
has_memory() { # POD KILOBYTES
    local found
    found=$(memory_of "$1") && [ "$found" = "$2" ] && return
    echo "MemTotal: $found, not $2"
    return 1
}
has_host() { has_memory "$1" "$host_memory"; }
host_memory=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)
# Everything that the issue names, by the programs that people call.
has_view() { # POD
    has_memory "$1" 262144 &&
        in_pod "$1" free -k | grep '^Mem: *262144 ' &&
        in_pod "$1" top -bn1 | grep '^MiB Mem : *256.0 total' &&
        [ "$(in_pod "$1" getconf _NPROCESSORS_ONLN)" = 1 ] &&
        [ "$(in_pod "$1" grep -c '^processor' /proc/cpuinfo)" = 1 ] &&
        [ "$(in_pod "$1" grep -c '^cpu[0-9]' /proc/stat)" = 1 ]
}
first_read() { # POD
    in_pod "$1" grep '^MemTotal: *262144 kB' /tmp/first && in_pod "$1" grep -q ^pgfault /tmp/first
}
# vmstat is one of those files that runc mounts nothing on.
has_more_files() { [ "$(in_pod "$1" awk '$1 == "nr_free_pages" { print $2 }' /proc/vmstat)" -le 65536 ]; }
