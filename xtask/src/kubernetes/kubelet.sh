# A node: kubelet on containerd and runc, with the scheduler. Comes after containerd.sh.
node_name=node

# What a kubelet writes of the kernel's own settings is its own alone: files of its own are there, in a mount
# namespace with which it shares all other mounts. For containers, they would be in the way: with a user namespace
# of its own, one may mount a /proc only if nobody has covered anything of the one that is there.
with_private_settings() { # COMMAND…
    exec unshare --mount --propagation unchanged bash -c '
        mount --make-rprivate /proc || exit
        for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1; do
            path=${setting%=*}
            echo "${setting#*=}" >"$0/${path//\//.}" && mount --bind "$0/${path//\//.}" "/proc/sys/$path" || exit
        done
        exec "$@"' "$work" "$@"
}
# All cgroups of pods are below those of this script.
kubelet_config() {
    cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /$place
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
readOnlyPort: 0
nodeStatusUpdateFrequency: 1s
syncFrequency: 2s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
resolvConf: $work/resolv.conf
staticPodPath: $work/static
containerRuntimeEndpoint: unix://$CONTAINERD_ADDRESS
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
${KUBELET_CONFIG-}
END
}
kubelet_up() {
    mkdir -p "$work/static" && : >"$work/resolv.conf" || return
    delegate_place || return
    kubelet_config >"$work/kubelet.yaml" && begin_kubelet
}
begin_kubelet() {
    # shellcheck disable=SC2086 # many words
    begin_program kubelet with_private_settings kubelet --config "$work/kubelet.yaml" --kubeconfig "$work/kubelet.kubeconfig" \
        --hostname-override "$node_name" --node-ip "$node_address" ${KUBELET_OPTIONS-}
    wait_while kubelet node_is_ready
}
node_is_ready() {
    kubectl get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null | grep -q True
}
delegate_place() {
    local hierarchy
    for hierarchy in $(hierarchies); do give_controllers "$hierarchy/$place" || return; done
}
# Its pods are ended before it, so that it takes away what it has mounted for them.
kubelet_down() {
    kubectl delete daemonsets,deployments,jobs,pods --all-namespaces --all --force --grace-period=0 --wait=false
    end_program kubelet TERM
} >/dev/null 2>&1
