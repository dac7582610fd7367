# What deploy/ holds, against a real API server: the manifests, the chart, and what the policy does to pods.
#
# Wants $root: the repository, and helm and kubectl in PATH.

chart=$root/deploy/helm/resview
deploy_checks() {
    local mode
    for mode in nri webhook mutating-admission-policy; do
        check "manifest-$mode" is_applied manifest_is_applied "$mode"
        check "manifest-$mode" is_taken_away manifest_is_taken_away "$mode"
    done
    kubectl create namespace resview >/dev/null
    kubectl label namespace resview pod-security.kubernetes.io/enforce=privileged >/dev/null
    for mode in nri webhook policy none; do
        check "chart-$mode" is_installed chart_is_installed "$mode"
    done
    check chart pods_are_as_they_have_to_be pods_of_ours
    check chart commands_are_known commands_are_known
    check chart rights_of_the_node rights_of_the_node
    check chart rights_of_the_webhook rights_of_the_webhook
    check chart keeps_certificates_over_upgrades certificates_stay
    check chart is_taken_away within helm uninstall resview --namespace resview --wait
    policy_checks
    check nri pods_pass_pod_security pods_pass_without_injection
    kubectl delete namespace resview --wait=false >/dev/null
}

# Warnings count as errors: they are the API server's about what will be refused one day.
quietly() {
    local output
    output=$("$@" 2>&1) && ! grep -q '^Warning' <<<"$output" && return
    echo "$output"
    return 1
}
# Twice, since an object that is there already goes another way.
manifest_is_applied() { # NAME
    local file=$root/deploy/manifests/$1.yaml
    quietly within kubectl apply --server-side -f "$file" && quietly within kubectl apply --server-side -f "$file"
}
manifest_is_taken_away() { # NAME
    within kubectl delete -f "$root/deploy/manifests/$1.yaml" && wait_for namespace_is_gone
}
namespace_is_gone() { ! kubectl get namespace resview >/dev/null 2>&1; }
chart_is_installed() { # INJECTION
    quietly within helm upgrade --install resview "$chart" --namespace resview --set "injection=$1" \
        --set node.startupTaint=true
}

# A node that is none: pods are made for it, and stay pending.
pods_of_ours() {
    kubectl create -f - <<<'{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "none", "labels":
        {"kubernetes.io/os": "linux"}}}' || return
    chart_is_installed webhook && wait_for has_pods node 1 && wait_for has_pods webhook 2 || return
    # As much as "restricted" asks for.
    kubectl create namespace deploy-restricted &&
        kubectl label namespace deploy-restricted pod-security.kubernetes.io/enforce=restricted || return
    template webhook | quietly within kubectl create -f - --namespace deploy-restricted --dry-run=server || return
    template node | not quietly within kubectl create -f - --namespace deploy-restricted --dry-run=server
    local status=$?
    kubectl delete node none && kubectl delete namespace deploy-restricted --wait=false
    return "$status"
}
has_pods() { # COMPONENT COUNT
    [ "$(kubectl get pods --namespace resview --selector "app.kubernetes.io/component=$1" --output name | wc -l)" = "$2" ]
}
# A pod as the Deployment or the DaemonSet would make it.
template() { # COMPONENT
    kubectl get daemonsets,deployments --namespace resview --selector "app.kubernetes.io/component=$1" --output json |
        jq '.items[0].spec.template | {apiVersion: "v1", kind: "Pod", metadata: {name: "template", labels: .metadata.labels},
            spec: (.spec | .serviceAccountName = "default" | del(.serviceAccount))}'
}

# Words that the program does not know are errors in front of --help.
commands_are_known() {
    local component arguments
    for component in node webhook; do
        mapfile -t arguments < <(template "$component" | jq -r '.spec.containers[0].args[]')
        [ ${#arguments[@]} -gt 3 ] && resview "${arguments[@]}" --help && not resview "${arguments[@]}" --bogus --help ||
            return
    done
}

may() { # ACCOUNT VERB RESOURCE…
    [ "$(kubectl auth can-i "${@:2}" --as "system:serviceaccount:resview:resview-$1" --quiet; echo $?)" = 0 ]
}
rights_of_the_node() {
    chart_is_installed nri &&
        may node list namespaces && may node watch namespaces && may node patch nodes && may node get nodes &&
        not may node get pods && not may node list nodes && not may node get secrets --namespace resview &&
        not may node update namespaces && not may node patch nodes --subresource=status || return
    # Without the taint and labels, nothing at all, and no token.
    helm upgrade resview "$chart" --namespace resview --set policy.namespaceLabels=false >/dev/null &&
        not may node list namespaces && not may node patch nodes &&
        [ "$(kubectl get daemonset resview-node --namespace resview \
            --output 'jsonpath={.spec.template.spec.automountServiceAccountToken}')" = false ]
}
rights_of_the_webhook() {
    local configurations=mutatingwebhookconfigurations
    chart_is_installed webhook &&
        may webhook get secret/resview-webhook-tls --namespace resview &&
        may webhook update secret/resview-webhook-tls --namespace resview &&
        may webhook patch "$configurations/resview" &&
        not may webhook list secrets --namespace resview && not may webhook create secrets --namespace resview &&
        not may webhook get secret/another --namespace resview &&
        not may webhook get secret/resview-webhook-tls --namespace default &&
        not may webhook patch "$configurations/another" && not may webhook list "$configurations" &&
        not may webhook list namespaces && not may webhook get pods --namespace resview
}
# What the webhook has written at run time is not in the chart, and must outlive it.
certificates_stay() {
    chart_is_installed webhook &&
        kubectl patch secret resview-webhook-tls --namespace resview --patch '{"data": {"tls.key": "a2V5"}}' &&
        kubectl patch mutatingwebhookconfiguration resview --type json --patch '[
            {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": "'"$(base64 -w0 "$work/certs/apiserver.crt")"'"}]' &&
        within helm upgrade resview "$chart" --namespace resview --set injection=webhook --set webhook.replicas=3 &&
        [ "$(kubectl get secret resview-webhook-tls --namespace resview --output 'jsonpath={.data.tls\.key}')" = a2V5 ] &&
        [ -n "$(kubectl get mutatingwebhookconfiguration resview --output 'jsonpath={.webhooks[0].clientConfig.caBundle}')" ]
}

# The policy, with the failures that it ignores in a cluster made visible.
policy_checks() {
    kubectl create namespace deploy >/dev/null
    wait_for kubectl get serviceaccount default --namespace deploy >/dev/null 2>&1
    check policy is_in_force policy_is_in_force
    pod_checks policy
    check policy gives_ephemeral_containers_the_view ephemeral
    check policy does_not_run_into_pod_security baseline
    check policy is_taken_away policy_is_taken_away
    kubectl delete namespace deploy --wait=false >/dev/null
}
# What is made of pods is the same, whoever does it.
pod_checks() { # WAY
    check "$1" gives_all_kinds_of_containers_the_view all_containers
    check "$1" keeps_what_is_the_users users_own_stays
    check "$1" changes_nothing_twice a_second_time
    check "$1" leaves_out_what_is_in_the_way in_the_way
    check "$1" leaves_alone_what_it_has_to left_alone
    check "$1" asks_in_order precedence
    check "$1" takes_files_away_on_request files_by_annotation
}
policy_is_in_force() { # VALUE…
    helm template resview "$chart" --namespace resview --kube-version "$(server_version)" --set injection=policy \
        --set 'policy.namespaces.on={deploy-on}' --set 'policy.namespaces.off={kube-system,deploy-off*}' "${@/#/--set=}" \
        --show-only templates/mutating-admission-policy.yaml | sed 's/failurePolicy: Ignore/failurePolicy: Fail/' |
        kubectl apply --server-side -f - && wait_for mutates
}
server_version() { kubectl version --output json | jq -r .serverVersion.gitVersion; }
mutates() { made a '{"containers": [{"name": "a", "image": "a"}]}' 2>/dev/null | is '.spec.volumes[1].name' >/dev/null; }
policy_is_taken_away() {
    kubectl delete mutatingadmissionpolicies,mutatingadmissionpolicybindings resview && wait_for not mutates
}

# What becomes of a pod; nothing is kept.
made() { # NAME SPEC [METADATA [NAMESPACE]]
    jq -n --arg name "$1" --argjson spec "$2" --argjson metadata "${3-null}" '{apiVersion: "v1", kind: "Pod",
        metadata: ({name: $name} + ($metadata // {})), spec: $spec}' |
        kubectl create --dry-run=server --output json --namespace "${4-deploy}" -f -
}
one='{"containers": [{"name": "a", "image": "a"}]}'
paths='[.volumeMounts[]?.mountPath | select(startswith("/proc") or startswith("/sys"))]'
all='["/proc/cpuinfo","/proc/diskstats","/proc/loadavg","/proc/meminfo","/proc/stat","/proc/swaps","/proc/uptime","/sys/devices/system/cpu"]'
# Whether a program of jq says true of what comes in.
is() { # PROGRAM
    local pod
    # jq 1.6 has nothing against nothing.
    pod=$(cat) && [ -n "$pod" ] && jq -e "$1" <<<"$pod" >/dev/null && return
    echo "not so: $1 in: $pod"
    return 1
}
all_containers() {
    made a '{"initContainers": [{"name": "i", "image": "a"}, {"name": "s", "image": "a", "restartPolicy": "Always"}],
        "containers": [{"name": "a", "image": "a"}, {"name": "b", "image": "a"}]}' |
        is "[(.spec.containers, .spec.initContainers)[] | $paths] == [$all, $all, $all, $all]
            and ([(.spec.containers, .spec.initContainers)[].volumeMounts[] | select(.name | startswith(\"resview-\"))
                | .readOnly and .mountPropagation == \"HostToContainer\" and (has(\"subPath\") | not)] | all)
            and ([.spec.volumes[] | select(.name | startswith(\"resview-\"))
                | .hostPath.type == (if .name == \"resview-cpu\" then \"Directory\" else \"File\" end)
                and (.hostPath.path | startswith(\"/var/lib/resview/\"))] | length == 8 and all)"
}
users_own_stays() {
    made a '{"volumes": [{"name": "z", "emptyDir": {}}, {"name": "b", "emptyDir": {}}], "containers": [
        {"name": "z", "image": "a", "volumeMounts": [{"name": "z", "mountPath": "/z"}, {"name": "b", "mountPath": "/b"}]},
        {"name": "a", "image": "a", "env": [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}]}]}' \
        '{"annotations": {"z": "1", "a": "2"}}' |
        is '[.spec.volumes[:2][].name] == ["z", "b"] and [.spec.containers[].name] == ["z", "a"]
            and [.spec.containers[0].volumeMounts[:2][].mountPath] == ["/z", "/b"]
            and [.spec.containers[1].env[].name] == ["B", "A"]
            and .metadata.annotations.z == "1" and .metadata.annotations.a == "2"
            and (.metadata.annotations["resview.dev/injected"] | startswith("resview-cpuinfo,"))'
}
a_second_time() {
    local once twice
    once=$(made a "$one") || return
    twice=$(jq '.metadata |= {name, annotations}' <<<"$once" |
        kubectl create --dry-run=server --output json --namespace deploy -f -) || return
    diff <(jq -S '.spec | del(.volumes[] | select(.projected))' <<<"$once") \
        <(jq -S '.spec | del(.volumes[] | select(.projected))' <<<"$twice") &&
        diff <(jq -S .metadata.annotations <<<"$once") <(jq -S .metadata.annotations <<<"$twice")
}
# Mounts of the user's at, above and below a path; a volume of the user's under one of our names.
in_the_way() {
    made a '{"volumes": [{"name": "v", "emptyDir": {}}, {"name": "resview-stat", "emptyDir": {}}], "containers": [
        {"name": "a", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/proc/meminfo/"},
            {"name": "v", "mountPath": "/sys/devices/system/cpu/cpu0"}, {"name": "v", "mountPath": "/proc/uptime2"}]},
        {"name": "b", "image": "a", "volumeMounts": [{"name": "v", "mountPath": "/sys"}]},
        {"name": "c", "image": "a", "volumeMounts": [{"name": "resview-stat", "mountPath": "/s"}]}]}' |
        is "def ours: [.volumeMounts[]? | select(.readOnly) | .mountPath] - [\"/var/run/secrets/kubernetes.io/serviceaccount\"];
            (.spec.containers[0] | ours) == $all - [\"/proc/meminfo\", \"/proc/stat\", \"/sys/devices/system/cpu\"]
            and (.spec.containers[1] | ours) == $all - [\"/proc/stat\", \"/sys/devices/system/cpu\"]
            and (.spec.containers[2] | ours) == $all - [\"/proc/stat\"]
            and ([.spec.volumes[] | select(.name == \"resview-stat\")] == [{name: \"resview-stat\", emptyDir: {}}])"
}
untouched='[.spec.volumes[]? | select(.hostPath)] == [] and (.metadata.annotations["resview.dev/injected"] | not)'
touched='[.spec.volumes[]? | select(.hostPath)] | length == 8'
left_alone() {
    local spec
    for spec in '{"hostPID": true}' '{"hostUsers": false}' '{"os": {"name": "windows"}}' \
        '{"nodeSelector": {"kubernetes.io/os": "windows"}}'; do
        made a "$(jq -n "$one + $spec")" | is "$untouched" || return
    done
    made a "$one" '{"labels": {"app.kubernetes.io/name": "resview"}}' | is "$untouched" &&
        made a "$one" '{"annotations": {"resview.dev/view": "off"}}' | is "$untouched" &&
        made a "$one" null kube-system | is "$untouched" || return
    kubectl create -f - <<<'{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-qemu"},
        "handler": "kata-qemu"}' &&
        made a "$(jq -n "$one + {runtimeClassName: \"kata-qemu\"}")" | is "$untouched" &&
        kubectl delete runtimeclass kata-qemu
}
# The pod's word, then what it says to other webhooks, then its namespace's label, then the namespace's name.
precedence() {
    local namespace annotations label expected
    local lxcfs=io.kubernetes.lxcfs.enabled aliyun=lxcfs-admission-webhook.aliyun.com/mutate
    while read -r namespace label annotations expected; do
        kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace" || return
        wait_for kubectl get serviceaccount default --namespace "$namespace"
        kubectl label --overwrite namespace "$namespace" "resview.dev/view${label/none/-}" || return
        wait_for says "$namespace" "{\"annotations\": $annotations}" "$expected" || return
    done <<END
deploy none {} $touched
deploy =off {} $untouched
deploy =on {} $touched
deploy =off {"resview.dev/view":"on"} $touched
deploy =on {"resview.dev/view":"off"} $untouched
deploy =on {"resview.dev/view":"maybe","$lxcfs":"false"} $untouched
deploy =off {"$lxcfs":"true","$aliyun":"no"} $touched
deploy =on {"$aliyun":"N"} $untouched
deploy =maybe {"$lxcfs":"maybe"} $touched
deploy-off1 none {} $untouched
deploy-off1 =on {} $touched
deploy-off1 none {"resview.dev/view":"on"} $touched
END
    kubectl label namespace deploy resview.dev/view- && kubectl delete namespace deploy-off1 --wait=false
}
# The API server learns of a label some time after it was set.
says() { # NAMESPACE METADATA PROGRAM
    made a "$one" "$2" "$1" | is "$3" >/dev/null
}
files_by_annotation() {
    made a "$one" '{"annotations": {"resview.dev/files": "swaps=host, proc/stat=absent,vmstat=virtual"}}' |
        is ".spec.containers[0] | $paths == $all - [\"/proc/stat\", \"/proc/swaps\"]"
}
# The pod's own volumes, in new ephemeral containers only.
ephemeral() {
    local pod
    made e "$one" >"$work/pod.json" && jq '.metadata |= {name, annotations}' "$work/pod.json" |
        kubectl create --namespace deploy -f - || return
    for name in one two; do
        pod=$(kubectl get pod e --namespace deploy --output json | jq --arg name "$name" \
            '.spec.ephemeralContainers += [{name: $name, image: "a"}]') &&
            kubectl replace --raw /api/v1/namespaces/deploy/pods/e/ephemeralcontainers -f - <<<"$pod" >/dev/null || return
    done
    kubectl get pod e --namespace deploy --output json |
        is "[.spec.ephemeralContainers[] | $paths] == [$all, $all]" || return
    # A pod without our volumes gets nothing.
    kubectl delete pod e --namespace deploy --now &&
        made e "$one" '{"annotations": {"resview.dev/view": "off"}}' |
        jq '.metadata = {name: "e"}' >"$work/pod.json" &&
        policy_is_taken_away && kubectl create --namespace deploy -f "$work/pod.json" && policy_is_in_force || return
    pod=$(kubectl get pod e --namespace deploy --output json | jq '.spec.ephemeralContainers = [{name: "one", image: "a"}]') &&
        kubectl replace --raw /api/v1/namespaces/deploy/pods/e/ephemeralcontainers -f - <<<"$pod" |
        is '[.spec.ephemeralContainers[].volumeMounts // []] == [[]]' && kubectl delete pod e --namespace deploy --now
}
# Pod Security sees what was written into a pod, and refuses it. So such namespaces are left alone, unless asked for.
baseline() {
    kubectl create namespace deploy-baseline &&
        kubectl label namespace deploy-baseline pod-security.kubernetes.io/enforce=baseline &&
        wait_for kubectl get serviceaccount default --namespace deploy-baseline &&
        wait_for says deploy-baseline null "$untouched" || return
    policy_is_in_force inject.restrictedNamespaces=true && wait_for is_refused || return
    kubectl label namespace deploy-baseline resview.dev/view=off && wait_for says deploy-baseline null "$untouched"
}
is_refused() {
    made a "$one" null deploy-baseline 2>&1 | grep 'violates PodSecurity "baseline:latest": hostPath volumes'
}
# By NRI nothing is written into a pod.
pods_pass_without_injection() {
    kubectl label --overwrite namespace deploy-baseline resview.dev/view- &&
        made a "$one" null deploy-baseline | is "$untouched" &&
        kubectl label --overwrite namespace deploy-baseline pod-security.kubernetes.io/enforce=restricted &&
        made a '{"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}, "containers": [
            {"name": "a", "image": "a", "securityContext": {"allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]}}}]}' null deploy-baseline | is "$untouched" &&
        kubectl delete namespace deploy-baseline --wait=false
}
