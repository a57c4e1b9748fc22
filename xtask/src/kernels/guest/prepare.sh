# What a test finds on any Debian host. The lines that follow, one for each thing to run, are written by the host.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# What the tests would build is built already, and cargo has nothing to do.
export CARGO=/bin/true
mkdir -p /lib/modules /dev/pts /dev/shm
mount --bind "$MODULES" /lib/modules
mount -t devpts devpts /dev/pts
for place in /dev/shm /run /tmp; do mount -t tmpfs tmpfs "$place"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
hostname db-host
ip link set lo up
for port in /dev/vport*; do exec 3> "$port"; done

# run NAME SECONDS COMMAND…: its output, then how it ended, after how long.
run() {
    name=$1 limit=$2
    shift 2
    echo "== begin $name" >&3
    began=$(cut -d ' ' -f 1 /proc/uptime)
    timeout --kill-after=10 "$limit" "$@" >&3 2>&1
    echo "
== end $name $? $began $(cut -d ' ' -f 1 /proc/uptime)" >&3
}

# Off at once: nothing here is to be kept.
off() {
    echo o > /proc/sysrq-trigger
    sleep 60
}
