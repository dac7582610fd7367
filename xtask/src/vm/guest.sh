# The second half of the start: the file systems and settings of a usual host, then the job.
# Its output and exit status go to files on the host; then the machine switches itself off.
. /vm/environment
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666,newinstance devpts /dev/pts
ln -sf pts/ptmx /dev/ptmx
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
ln -sfn /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
mkdir -p /lib/modules
ln -sfn "$MODULES_DIR" "/lib/modules/$(uname -r)"
ip link set lo up
hostname vm

case " $(cat /proc/cmdline) " in
*" xtask.cgroup=v1 "*)
    # As systemd lays it out: cpu and cpuacct share a mount, and nothing of v2 is there.
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    for set in cpu,cpuacct cpuset memory blkio pids freezer devices; do
        mkdir "/sys/fs/cgroup/$set"
        mount -t cgroup -o "$set" cgroup "/sys/fs/cgroup/$set"
    done
    ln -s cpu,cpuacct /sys/fs/cgroup/cpu
    ln -s cpu,cpuacct /sys/fs/cgroup/cpuacct
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    ;;
*)
    mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
    for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
    done
    ;;
esac
mount -t fusectl fusectl /sys/fs/fuse/connections
mount --make-rshared /
mkswap /dev/vda >/dev/null && swapon /dev/vda

: >/vm/started
bash /vm/job.sh >/vm/output 2>&1 </dev/null
echo $? >/vm/status.part
mv /vm/status.part /vm/status
sync
echo o >/proc/sysrq-trigger
sleep 60
