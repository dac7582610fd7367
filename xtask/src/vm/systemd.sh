# The second half of the start where systemd is pid 1: makes the job a unit and hands over.
# The job's output and exit status go to files on the host, as in guest.sh.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
echo vm >/etc/hostname
echo 5e1f0f6a3d9c4b7e8a2d1c0b9f8e7d6c >/etc/machine-id
mkswap /dev/vda >/dev/null && swapon /dev/vda

cat >/vm/run-job.sh <<'X'
. /vm/environment
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd /root
: >/vm/started
bash /vm/job.sh >/vm/output 2>&1 </dev/null
echo $? >/vm/status.part
mv /vm/status.part /vm/status
systemctl poweroff --force --force
X
cat >/etc/systemd/system/job.service <<'X'
[Unit]
Description=The job
# Like somebody who has logged in: everything that belongs to the start is done by now.
After=basic.target dbus.service systemd-logind.service
[Service]
Type=oneshot
ExecStart=/bin/bash /vm/run-job.sh
TimeoutStartSec=infinity
X
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -s ../job.service /etc/systemd/system/multi-user.target.wants/job.service
exec /lib/systemd/systemd
