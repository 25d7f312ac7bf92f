#!/bin/bash
# guest-init.sh: process 1 of the guest: what an init system does on a host that `make up` was run on – etcd and the Engine at
# every boot, and nothing else. All that must outlive a boot is on the second disk, at /state.
export PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sfn /proc/self/fd /dev/fd
hostname vm
ip link set lo up
modprobe -a virtio_net overlay bridge br_netfilter veth loop fuse iscsi_tcp sd_mod
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2

# The Engine's state, etcd's and the volumes'.
e2fsck -p /dev/vdb
checked=$?
[ "$checked" -le 1 ] || echo "guest: e2fsck of the state disk ended with $checked"
mount -t ext4 /dev/vdb /state
mkdir -p /state/{docker,etcd,openebs,etc-docker} /var/lib/openebs
mount --bind /state/etc-docker /etc/docker
mount --bind /state/openebs /var/lib/openebs
# as systemd leaves it
mount --make-rshared /

keep_running() { while :; do "$@"; echo "guest: $1 ended with $?"; sleep 1; done; }
keep_running etcd --data-dir /state/etcd --log-level error >/dev/console 2>&1 &
# Without --tls=false it waits for 15 s, to show a warning. Only the loopback address of the machine outside is forwarded here.
keep_running dockerd --data-root /state/docker -H unix:///run/docker.sock -H tcp://0.0.0.0:2375 --tls=false >/dev/console 2>&1 &
echo 'guest: booted'
# Orphans of containers become this process's children; bash reaps them.
while :; do sleep 3600 & wait $!; done
