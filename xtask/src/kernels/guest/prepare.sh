# Sets up the mounts and settings of a Debian host for the tests. The host appends one line for each command to run.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
# The programs of the tests are built already: `cargo` does nothing.
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

# run NAME SECONDS COMMAND…: runs the command, and prints its output, exit code, start and end.
run() {
    name=$1 limit=$2
    shift 2
    echo "== begin $name" >&3
    began=$(cut -d ' ' -f 1 /proc/uptime)
    timeout --kill-after=10 "$limit" "$@" >&3 2>&1
    echo "
== end $name $? $began $(cut -d ' ' -f 1 /proc/uptime)" >&3
}

# Powers off at once; no data must be saved.
off() {
    echo o > /proc/sysrq-trigger
    sleep 60
}
