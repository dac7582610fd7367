#!/bin/busybox sh
# The first program of the virtual machine: puts a writable layer over the host's root, which
# comes read-only over 9p, and goes on there. @MODULES@ is replaced when the image is built.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in @MODULES@; do insmod "/mod/$module.ko" || echo "no module $module"; done

mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=500000,cache=loose host /lower
mount -t tmpfs -o size=75% tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root

mkdir -p /root/vm
mount -t 9p -o trans=virtio,version=9p2000.L,msize=500000 out /root/vm
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
exec switch_root /root /bin/bash /vm/guest.sh </dev/console >/dev/console 2>&1
