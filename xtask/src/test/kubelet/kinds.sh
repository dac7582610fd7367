# Every kind of pod and container that a kubelet starts.

kind_checks() {
    check deployment has_the_view deployment_has_view
    check pod first_instruction first_read plain
    check pod files_that_runc_refuses has_more_files plain
    check pod init_sidecar_and_main containers_of_one_pod
    check pod ephemeral_container ephemeral_container
    check pod static_pod static_pod
    check pod shared_pid_namespace shared_pids
    check pod user_namespace user_namespace
    check pod limit_of_the_whole_pod pod_level
    check pod resized_in_place resized
    check pod host_pid_is_left_alone host_pid
    check pod security_restricted restricted
    check opt-out by_annotation by_annotation
    # The daemon learns of labels from the DaemonSet's pod.
    ! is_own_machine || check opt-out by_label_of_the_namespace by_label
    check opt-out by_name_of_the_namespace by_name
}
deployment_has_view() {
    spec '{}' "$limits" | jq '{apiVersion: "apps/v1", kind: "Deployment", metadata: {name: "demo"}, spec: {replicas: 2,
        selector: {matchLabels: {app: "demo"}}, template: {metadata: {labels: {app: "demo"}}, spec: .}}}' |
        within kubectl create -f - && within kubectl rollout status deployment/demo --timeout=240s || return
    local pod
    for pod in $(kubectl get pods --selector app=demo --output 'jsonpath={.items[*].metadata.name}'); do
        has_view "$pod" || return
    done
    begin_pod plain "$(spec '{}' "$limits")"
}
# The first and the second leave what they have read to the others.
containers_of_one_pod() {
    local spec
    spec=$(spec '{}' "$limits" | jq '.volumes = [{name: "v", emptyDir: {}}]
        | .containers[0].volumeMounts = [{name: "v", mountPath: "/v"}]
        | .initContainers = [
            .containers[0] + {name: "init", command: ["sh", "-c", "cat /proc/meminfo >/v/init"]},
            .containers[0] + {name: "sidecar", restartPolicy: "Always",
                command: ["sh", "-c", "cat /proc/meminfo >/v/sidecar; exec sleep 100000"]}]') &&
        begin_pod kinds "$spec" && has_memory kinds 262144 && container=sidecar has_memory kinds 262144 || return
    local name
    for name in init sidecar; do in_pod kinds grep '^MemTotal: *262144 kB' "/v/$name" || return; done
}
ephemeral_container() {
    kubectl get pod plain --output json | jq --arg image "$image_name" '.spec.ephemeralContainers = [{name: "debug", $image,
        imagePullPolicy: "Never", targetContainerName: "main", command: ["sleep", "100000"]}]' |
        kubectl replace --raw /api/v1/namespaces/default/pods/plain/ephemeralcontainers -f - >/dev/null &&
        wait_for debug_runs || return
    # It has no limit, and so the host's memory: but its own files, by which it is known to have a view.
    container=debug in_pod plain grep -q ' /proc/vmstat ' /proc/self/mountinfo
}
debug_runs() {
    kubectl get pod plain --output 'jsonpath={.status.ephemeralContainerStatuses[0].state.running}' | grep -q startedAt
}
static_pod() {
    spec '{}' "$limits" | jq '{apiVersion: "v1", kind: "Pod", metadata: {name: "static"}, spec: .}' \
        >"$work/static/static.json" &&
        wait_for static_runs && has_memory "static-$node_name" 262144 && rm "$work/static/static.json"
}
static_runs() { kubectl wait --for=condition=Ready --timeout=1s "pod/static-$node_name" >/dev/null 2>&1; }
shared_pids() {
    begin_pod shared "$(spec '{"shareProcessNamespace": true}' "$limits")" && has_view shared &&
        [ "$(in_pod shared cat /proc/1/comm)" != sh ]
}
user_namespace() {
    begin_pod users "$(spec '{"hostUsers": false}' "$limits")" && has_view users &&
        not in_pod users grep ' 0 *0 *4294967295' /proc/self/uid_map
}
pod_level() {
    begin_pod whole "$(spec "$limits")" && has_view whole
}
resized() {
    begin_pod resized "$(spec '{}' "$limits")" && has_memory resized 262144 &&
        kubectl patch pod resized --subresource resize --patch '{"spec": {"containers": [{"name": "main",
            "resources": {"limits": {"memory": "384Mi", "cpu": "2"}}}]}}' &&
        wait_for has_memory resized 393216 >/dev/null && [ "$(in_pod resized getconf _NPROCESSORS_ONLN)" = 2 ]
}
host_pid() {
    begin_pod hostpid "$(spec '{"hostPID": true}' "$limits")" && has_host hostpid
}
# What the hostPath volumes of a webhook do not pass.
restricted() {
    kubectl create namespace restricted &&
        kubectl label namespace restricted pod-security.kubernetes.io/enforce=restricted &&
        wait_for kubectl get serviceaccount default --namespace restricted >/dev/null 2>&1 || return
    begin_pod p "$(spec '{"securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}}' \
        "$limits" | jq '.containers[0].securityContext = {allowPrivilegeEscalation: false, capabilities: {drop: ["ALL"]}}')" \
        null restricted && has_view restricted/p
}
by_annotation() {
    begin_pod off "$(spec '{}' "$limits")" '{"annotations": {"resview.dev/view": "off"}}' && has_host off
}
by_label() {
    kubectl create namespace labelled && kubectl label namespace labelled resview.dev/view=off &&
        wait_for kubectl get serviceaccount default --namespace labelled >/dev/null 2>&1 &&
        wait_for label_is_on_the_node &&
        begin_pod p "$(spec '{}' "$limits")" null labelled && has_host labelled/p
}
label_is_on_the_node() { grep -q '"labelled": *"off"' /run/resview/namespaces.json; }
by_name() {
    wait_for kubectl get serviceaccount default --namespace kube-system >/dev/null 2>&1 &&
        begin_pod p "$(spec '{}' "$limits")" null kube-system && has_host kube-system/p
}
