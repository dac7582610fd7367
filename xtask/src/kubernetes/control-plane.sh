# A control plane: etcd, kube-apiserver and kube-controller-manager, on request kube-scheduler. All of it
# listens in the network namespace of this script, which has to be one of its own.
#
# Wants the programs in PATH and $work: an empty directory. Leaves there what each of them logs.
node_address=192.0.2.1
# That of the service by which pods know the API server.
service_address=10.96.0.1
export KUBECONFIG=$work/kubeconfig

# What is started here is ended by its pid, which is kept beside its log.
begin_program() { # NAME COMMAND…
    "${@:2}" >"$work/$1.log" 2>&1 &
    echo $! >"$work/$1.pid"
    # The shell would say that it was killed.
    disown
}
end_program() { # NAME [SIGNAL]
    [ -f "$work/$1.pid" ] || return 0
    kill "-${2:-KILL}" "$(cat "$work/$1.pid")" 2>/dev/null
    wait_for not runs "$1" && rm "$work/$1.pid"
}
runs() { # NAME
    grep -qs '^State:.[^Z]' "/proc/$(cat "$work/$1.pid")/status"
}
# While it runs; else what it said last.
wait_while() { # NAME COMMAND…
    wait_for has_ended_or "$@" && runs "$1" && return 0
    tail -n 5 "$work/$1.log"
    return 1
}
has_ended_or() { not runs "$1" || "${@:2}"; }

control_plane_up() {
    network_up && credentials || return
    begin_program etcd etcd --data-dir "$work/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    apiserver_up && controllers_up
}
# No packet leaves the namespace; but addresses of loopback are not allowed where this one is used.
network_up() {
    ip link set lo up && ip addr replace "$node_address/32" dev lo && ip addr replace "$service_address/32" dev lo
}

# Two users: an administrator, and the kubelet with a node's rights only.
credentials() {
    local admin kubelet
    admin=$(cat /proc/sys/kernel/random/uuid) kubelet=$(cat /proc/sys/kernel/random/uuid)
    umask 077
    printf '%s\n' "$admin,admin,admin,system:masters" "$kubelet,system:node:node,node,system:nodes" >"$work/tokens.csv"
    openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null || return
    openssl rsa -in "$work/accounts.key" -pubout -out "$work/accounts.pub" 2>/dev/null || return
    kubeconfig "$admin" >"$KUBECONFIG" && kubeconfig "$kubelet" >"$work/kubelet.kubeconfig"
    umask 022
}
kubeconfig() { # TOKEN
    cat <<END
apiVersion: v1
kind: Config
current-context: own
contexts: [{name: own, context: {cluster: own, user: own}}]
users: [{name: own, user: {token: $1}}]
clusters: [{name: own, cluster: {server: "https://$node_address", certificate-authority: $work/authority.crt}}]
END
}

# It makes a certificate, followed by that of an authority which signed it. Webhooks are called at the address of their endpoints: nothing
# here routes the addresses of services but that of the API server itself, at the port that it has anyway.
apiserver_up() {
    # shellcheck disable=SC2086 # many words
    begin_program apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --cert-dir="$work/certs" \
        --bind-address=0.0.0.0 --advertise-address="$node_address" --secure-port=443 \
        --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
        --token-auth-file="$work/tokens.csv" --allow-privileged=true \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$work/accounts.pub" \
        --service-account-signing-key-file="$work/accounts.key" --service-cluster-ip-range=10.96.0.0/16 \
        --enable-aggregator-routing=true --kubelet-preferred-address-types=InternalIP \
        --kubelet-certificate-authority= ${APISERVER_OPTIONS-}
    wait_while apiserver [ -s "$work/certs/apiserver.crt" ] || return
    awk '/BEGIN/ { n++ } n == 2' "$work/certs/apiserver.crt" >"$work/authority.crt"
    wait_while apiserver api_is_ready
}
api_is_ready() { kubectl get --raw /readyz >/dev/null 2>&1; }

# Makes pods of Deployments, and the service account that each pod needs.
controllers_up() {
    begin_program controllers kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false \
        --service-account-private-key-file="$work/accounts.key" --use-service-account-credentials=true \
        --root-ca-file="$work/authority.crt" --cert-dir="$work/certs-controllers"
    wait_while controllers kubectl get serviceaccount default
} >/dev/null 2>&1
scheduler_up() {
    begin_program scheduler kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false \
        --cert-dir="$work/certs-scheduler"
}
control_plane_down() {
    local name
    for name in scheduler controllers apiserver etcd; do end_program "$name"; done
}
