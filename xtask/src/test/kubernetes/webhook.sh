# The webhook, with the manifests, the rights and the names of deploy/: what it makes of pods is what the policy
# makes of them, so the checks are the same. Two replicas run, and their certificate lives for a minute, so that
# some of these checks meet a renewal.
#
# Wants the functions of deploy.sh.

webhook_checks() {
    wait_for webhook_has_room >/dev/null
    kubectl create namespace deploy >/dev/null
    wait_for kubectl get serviceaccount default --namespace deploy >/dev/null 2>&1
    check webhook starts webhook_up
    check webhook replicas_share_a_certificate one_certificate
    check webhook is_trusted_for_its_service_by_openssl openssl_trusts
    check webhook mutates_what_is_created created_for_real
    pod_checks webhook
    check webhook gives_ephemeral_containers_the_view ephemeral_by_webhook
    check webhook leaves_alone_who_may_have_no_volumes_of_the_host restricted_by_label
    check webhook reads_its_policy_again policy_changes
    check webhook renews_its_certificate_while_serving renewed_while_serving
    cat "$work/figures"
    check webhook heals_an_emptied_bundle bundle_is_healed
    check webhook ends_after_what_it_has_begun ends_gracefully
    check webhook keeps_no_pod_waiting_when_killed killed
    kubectl delete --wait=false --filename "$root/deploy/manifests/webhook.yaml" >/dev/null
    kubectl delete namespace deploy deploy-baseline --wait=false >/dev/null
    end_program webhook-one
    end_program webhook-two
}
# Namespaces of the checks before are gone some time after they were deleted.
webhook_has_room() {
    local name
    for name in deploy deploy-baseline deploy-off1 resview; do
        not kubectl get namespace "$name" >/dev/null 2>&1 || return
    done
}

webhook_up() {
    echo '{"version": 1, "namespaces": {"off": ["kube-system", "deploy-off*"]}}' >"$work/policy.json"
    webhook_is_applied Fail &&
        kubectl create token resview-webhook --namespace resview --duration 1h >"$work/webhook.token" || return
    # Where the pods of the Service would be.
    local replica port=9443
    for replica in one two; do
        endpoint "$replica" "$port" && begin_replica "$replica" "$port" || return
        port=$((port + 1))
    done
    wait_while webhook-one is_ready 9443 && wait_while webhook-two is_ready 9444 && wait_for webhook_mutates
}
# With the failures that are ignored in a cluster made visible.
webhook_is_applied() { # FAILUREPOLICY
    sed "s/failurePolicy: Ignore/failurePolicy: $1/" "$root/deploy/manifests/webhook.yaml" |
        quietly within kubectl apply --server-side --filename -
}
begin_replica() { # NAME PORT
    begin_program "webhook-$1" resview webhook --listen "$node_address:$2" --health-listen "$node_address:1$2" \
        --tls-secret resview/resview-webhook-tls --service resview-webhook --configuration resview \
        --policy "$work/policy.json" --certificate-life 60s --drain 10s \
        --api-server "https://$node_address" --api-ca "$work/authority.crt" --api-token "$work/webhook.token"
}
endpoint() { # NAME PORT
    kubectl apply --filename - <<END
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-$1, namespace: resview, labels: {kubernetes.io/service-name: resview-webhook}}
addressType: IPv4
endpoints: [{addresses: [$node_address], conditions: {ready: true}}]
ports: [{name: https, port: $2}]
END
}
is_ready() { page "$1" readyz >/dev/null; } # PORT
page() { busybox wget -q -O - "http://$node_address:1$1/$2" 2>/dev/null; } # PORT PAGE
webhook_mutates() { says deploy null "$touched"; }

secret() { kubectl get secret resview-webhook-tls --namespace resview --output "jsonpath={.data.$1}" | base64 -d; } # KEY
shown() { # PORT
    openssl s_client -connect "$node_address:$1" -servername resview-webhook.resview.svc </dev/null 2>/dev/null |
        openssl x509 -noout -fingerprint
}
# Both began with an empty Secret at the same moment. A renewal may come in between, so this waits.
one_certificate() { wait_for replicas_agree; }
replicas_agree() {
    local stored
    stored=$(secret 'tls\.crt' | openssl x509 -noout -fingerprint) && [ -n "$stored" ] &&
        [ "$(shown 9443)" = "$stored" ] && [ "$(shown 9444)" = "$stored" ]
}
openssl_trusts() {
    secret 'ca\.crt' >"$work/bundle.pem" && secret 'tls\.crt' >"$work/leaf.pem" &&
        openssl verify -purpose sslserver -verify_hostname resview-webhook.resview.svc -CAfile "$work/bundle.pem" \
            "$work/leaf.pem" && not openssl verify -purpose sslclient -CAfile "$work/bundle.pem" "$work/leaf.pem"
}

# A Deployment's pods, made by the controller without a name.
created_for_real() {
    kubectl create deployment web --image web --replicas 3 --namespace deploy && wait_for has_web_pods 3 &&
        kubectl get pods --namespace deploy --selector app=web --output json |
        is "[.items[] | $touched] == [true, true, true]
            and ([.items[].spec.containers[] | $paths] | unique == [$all])" &&
        kubectl delete deployment web --namespace deploy
}
has_web_pods() { [ "$(kubectl get pods --namespace deploy --selector app=web --output name | wc -l)" = "$1" ]; } # COUNT

# In new ones only, as the API server refuses a change of those that are there.
ephemeral_by_webhook() {
    local name
    made with "$one" | jq '.metadata |= {name, annotations}' | kubectl create --namespace deploy --filename - &&
        made without "$one" '{"annotations": {"resview.dev/view": "off"}}' | jq '.metadata = {name: "without"}' \
            >"$work/without.json" || return
    kubectl label namespace deploy resview.dev/view=off && wait_for says deploy null "$untouched" &&
        kubectl create --namespace deploy --filename "$work/without.json" &&
        kubectl label namespace deploy resview.dev/view- && wait_for says deploy null "$touched" || return
    for name in one two; do debug with "$name" >/dev/null || return; done
    kubectl get pod with --namespace deploy --output json |
        is "[.spec.ephemeralContainers[] | $paths] == [$all, $all]" &&
        debug without one | is '[.spec.ephemeralContainers[].volumeMounts // []] == [[]]' &&
        kubectl delete pods with without --namespace deploy --now
}
debug() { # POD CONTAINER
    kubectl get pod "$1" --namespace deploy --output json | jq --arg name "$2" \
        '.spec.ephemeralContainers += [{name: $name, image: "a"}]' |
        kubectl replace --raw "/api/v1/namespaces/deploy/pods/$1/ephemeralcontainers" --filename -
}

# Pod Security would refuse such pods.
restricted_by_label() {
    kubectl create namespace deploy-baseline &&
        kubectl label namespace deploy-baseline pod-security.kubernetes.io/enforce=baseline &&
        wait_for kubectl get serviceaccount default --namespace deploy-baseline &&
        wait_for says deploy-baseline null "$untouched"
}

# Off for all, but for whom a label or a word of their own says on. Either replica may be asked.
policy_changes() {
    echo '{"version": 1, "default": "off"}' >"$work/policy.json"
    wait_for policies_are_read 1 && says deploy null "$untouched" &&
        says deploy '{"annotations": {"resview.dev/view": "on"}}' "$touched" &&
        kubectl label namespace deploy resview.dev/view=on && wait_for says deploy null "$touched" &&
        kubectl label namespace deploy resview.dev/view- && wait_for says deploy null "$untouched" || return
    # A policy that is not understood changes nothing.
    echo '{"version": 1, "defualt": "on"}' >"$work/policy.json" && wait_for both_log defualt 1 &&
        says deploy null "$untouched" || return
    echo '{"version": 1}' >"$work/policy.json" && wait_for policies_are_read 2 && says deploy null "$touched"
}
policies_are_read() { both_log 'the policy has changed' "$1"; } # COUNT
both_log() { # WORDS COUNT
    [ "$(grep -c "$1" "$work/webhook-one.log")" -ge "$2" ] && [ "$(grep -c "$1" "$work/webhook-two.log")" -ge "$2" ]
}

# Pods are made all the time, and each must come out with the view: here a call that fails is an error.
renewed_while_serving() {
    local before pods=0
    before=$(secret 'tls\.crt')
    while [ "$(secret 'tls\.crt')" = "$before" ] || ! replicas_agree; do
        all_get_it 20 || return
        pods=$((pods + 20))
        [ "$pods" -lt 100000 ] || return
    done
    all_get_it 20 || return
    echo "FIGURES webhook: $pods pods while a certificate was renewed, none without the view" >"$work/figures"
    # The one before is still trusted, for those that have not changed over.
    [ "$(secret 'ca\.crt' | grep -c BEGIN)" = 2 ]
}
all_get_it() { # COUNT
    jq -n --argjson spec "$one" --argjson count "$1" '{apiVersion: "v1", kind: "List", items: [range($count) |
        {apiVersion: "v1", kind: "Pod", metadata: {name: "p\(.)"}, spec: $spec}]}' |
        kubectl create --dry-run=server --output json --namespace deploy --filename - | jq --slurp '{items: .}' |
        is "[.items[] | $touched] | length == $1 and all"
}

# Somebody takes away whom to trust.
bundle_is_healed() {
    kubectl patch mutatingwebhookconfiguration resview --type json --patch '[
        {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]' && wait_for webhook_mutates
}

# No longer ready, so taken out of the Service; it answers whoever comes meanwhile, and then ends by itself.
ends_gracefully() {
    kill -TERM "$(cat "$work/webhook-two.pid")" && wait_for not is_ready 9444 && all_get_it 1 &&
        kubectl delete endpointslice by-hand-two --namespace resview && all_get_it 20 &&
        wait_for not runs webhook-two && grep -q 'no longer ready' "$work/webhook-two.log" && all_get_it 20
}

killed() {
    end_program webhook-one KILL
    not made a "$one" || return
    # As it is in a cluster.
    webhook_is_applied Ignore && wait_for says deploy null "$untouched" &&
        kubectl run kept --image a --namespace deploy && kubectl delete pod kept --namespace deploy --now
}
