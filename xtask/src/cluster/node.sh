# The first process of the node, in fresh mount, PID and cgroup namespaces: makes its mounts, then adopts orphans.
# Arguments: the root directory; then type, options and directory of each cgroup hierarchy.
set -eu
cd "$1"
shift
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
# The agent takes this node for a container, which needs a directory of a bpffs.
mkdir -m 0700 sys/fs/bpf/node
mount --bind sys/fs/bpf/node sys/fs/bpf
mount -t tmpfs -o mode=0755 tmpfs run
[ "$1" = cgroup2 ] || mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
while [ $# -gt 0 ]; do
    mkdir -p "sys/fs/cgroup/$3"
    mount -t "$1" -o "$2" cgroup "sys/fs/cgroup/$3"
    shift 3
done
# In version 2 a cgroup with controllers has no process of its own: all are in a leaf.
if [ -e sys/fs/cgroup/cgroup.subtree_control ]; then
    sed 's/^/+/; s/ / +/g' sys/fs/cgroup/cgroup.controllers > sys/fs/cgroup/cgroup.subtree_control
fi
# The values that a kubelet would set for the whole machine read as if they were set, and every boot has its own id.
mkdir run/settings
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000 \
    kernel/random/boot_id="$(cat proc/sys/kernel/random/uuid)"; do
    file="run/settings/$(echo "${setting%=*}" | tr / .)"
    echo "${setting#*=}" > "$file"
    mount --bind "$file" "proc/sys/${setting%=*}"
done
pivot_root . mnt
umount -l /mnt
mount --make-rshared /
echo up
while :; do
    sleep 3600 &
    wait
done
