#!/bin/busybox sh
# First process of a guest. Its root is a directory of the host, under an overlay in the guest's memory.
# Errors appear on the console. A guest without results counts as failed.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done < /modules/order
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=1048576,cache=loose host /host
mount -t tmpfs tmpfs /own
mkdir /own/upper /own/work
for word in $(cat /proc/cmdline); do
    case $word in
        files=*) mount -t overlay -o "lowerdir=/host${word#*=},upperdir=/own/upper,workdir=/own/work" overlay /new ;;
        plan=*) plan=${word#*=} ;;
    esac
done
# Kernel modules and programs have the host's paths, also where the root is not that of the host.
for word in $(cat /proc/cmdline); do
    place=${word#shared=}
    [ "$place" = "$word" ] || [ -e "/new$place" ] || { mkdir -p "/new$place" && mount --bind "/host$place" "/new$place"; }
done
for place in dev proc sys; do mount --move "/$place" "/new/$place"; done
exec switch_root /new /bin/sh "$plan"
