# The DaemonSet, which installs the daemon on a node without systemd, and what becomes of readers meanwhile.

install_checks() {
    check installer is_installed chart_is_installed_on_node
    check installer is_listening_to_containerd wait_for is_a_plugin
    check installer runs_outside_the_pod daemon_is_outside
}
chart_on_node() { # VALUE…
    local value options=()
    for value in "$@"; do options+=(--set "$value"); done
    # A virtual machine has no disk: what the pod writes stays in memory, for which it is charged.
    options+=(--set node.resources.limits.memory=256Mi)
    # The daemon's cgroup is beside this script's, which it is not to end with.
    within helm upgrade --install resview "$root/deploy/helm/resview" --namespace resview --create-namespace \
        --set node.systemd=false --set image.pullPolicy=Never --set "image.tag=$(tag_of "$program_image")" \
        "${options[@]}" &&
        kubectl patch daemonset resview-node --namespace resview --type json --patch '[{"op": "add",
            "path": "/spec/template/spec/containers/0/args/1", "value": "--cgroup='"$place-daemon"'"}]'
}
tag_of() { tar -xOf "$1" manifest.json | jq -r '.[0].RepoTags[0] | sub(".*:"; "")'; } # ARCHIVE
chart_is_installed_on_node() {
    ctr image import --local "$program_image" && chart_on_node && node_pods_are_ready
}
node_pods_are_ready() {
    within kubectl rollout status daemonset/resview-node --namespace resview --timeout=240s && return
    kubectl describe pods --namespace resview | grep -A 5 -e 'Last State' -e ^Events
    kubectl logs --namespace resview daemonset/resview-node --previous --tail=10
    kubectl logs --namespace resview daemonset/resview-node --tail=10
    return 1
}
is_a_plugin() { /opt/resview/resview status 2>/dev/null | grep -qi nri; }
daemon_is_outside() { # The kubelet ends a pod by its cgroup.
    local process found=
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/exe")" = /opt/resview/resview ] || continue
        found=yes
        not grep kubepods "$process/cgroup" || return
    done
    [ -n "$found" ]
}

reader_checks() {
    check readers are_there readers_begin
    local good bad what="the kubelet and containerd"
    if is_own_machine; then
        what="the DaemonSet's pod, the DaemonSet, $what"
        check readers outlive_the_pod while_reading pod_is_replaced
        check readers outlive_a_rollout while_reading daemonset_is_replaced
    fi
    check readers outlive_the_kubelet while_reading restart_kubelet
    check readers outlive_containerd while_reading runtime_restart containerd
    good=$(counts good) bad=$(counts bad)
    echo "FIGURES kubelet: $good reads by three pods while $what were replaced: $bad failed or showed the host"
    check readers have_read_no_error [ "$bad" = 0 ]
}
# Each reads four files for ever, and counts what it finds. With a pause: the kubelet has to get on as well.
reader='good=0 bad=0
while :; do
    for file in meminfo stat uptime cpuinfo; do
        if text=$(cat /proc/$file 2>&1) && [ -n "$text" ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
        case $file in
            meminfo) case $text in "MemTotal:         262144 kB"*) ;; *) bad=$((bad + 1)) ;; esac ;;
        esac
    done
    echo "$good $bad" >/tmp/count.part && mv /tmp/count.part /tmp/count
    sleep 0.05
done'
readers_begin() {
    spec '{}' "$(jq -n --arg reader "$reader" --argjson limits "$limits" \
        '$limits + {command: ["sh", "-c", $reader], readinessProbe: {exec: {command: ["test", "-e", "/tmp/count"]},
            periodSeconds: 1}}')" |
        jq '{apiVersion: "apps/v1", kind: "Deployment", metadata: {name: "readers"}, spec: {replicas: 3,
            selector: {matchLabels: {app: "readers"}}, template: {metadata: {labels: {app: "readers"}}, spec: .}}}' |
        within kubectl create -f - && within kubectl rollout status deployment/readers --timeout=240s
}
readers() { kubectl get pods --selector app=readers --output 'jsonpath={.items[*].metadata.name}'; }
counts() { # good|bad
    local pod field=1
    [ "$1" = good ] || field=2
    for pod in $(readers); do in_pod "$pod" cat /tmp/count; done | awk -v field="$field" '{ n += $field } END { print n + 0 }'
}
# All of it while they read: they have to be read on afterwards.
while_reading() { # COMMAND…
    local before
    before=$(counts good) || return
    "$@" || return
    wait_for reads_more_than "$before"
}
reads_more_than() { [ "$(counts good)" -gt $(($1 + 200)) ]; }
pod_is_replaced() {
    kubectl delete pods --namespace resview --selector app.kubernetes.io/component=node --wait && node_pods_are_ready
}
daemonset_is_replaced() {
    kubectl rollout restart daemonset/resview-node --namespace resview && node_pods_are_ready
}
restart_kubelet() { end_program kubelet TERM && begin_kubelet; }

uninstall_checks() {
    check uninstalled is_done uninstall_from_node
    check uninstalled pods_have_the_host has_host uninstalled
    check uninstalled leaves_nothing not is_a_plugin
}
uninstall_from_node() {
    begin_pod uninstalled "$(spec '{}' "$limits")" && has_memory uninstalled 262144 &&
        chart_on_node node.uninstall=true && node_pods_are_ready && within helm uninstall resview --namespace resview --wait
}
