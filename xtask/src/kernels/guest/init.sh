#!/bin/busybox sh
# First process of a guest: the host's file system, read-only, under one of the guest's own that is gone with it.
# What fails here is seen on the console; without results the host takes the kernel for failed.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=1048576,cache=loose host /host
mount -t tmpfs tmpfs /own
mkdir /own/upper /own/work
mount -t overlay -o lowerdir=/host,upperdir=/own/upper,workdir=/own/work overlay /new
for place in dev proc sys; do mount --move "/$place" "/new/$place"; done
exec switch_root /new /bin/sh "$(sed -n 's/.* plan=\([^ ]*\).*/\1/p' /new/proc/cmdline)"
