#!/bin/bash
# Runs the lines that come over the serial port, each a mark and a command. The answer is the command's output, then the
# mark and the exit code.
port=/dev/virtio-ports/host
until [ -e "$port" ]; do sleep 0.2; done
exec 3<> "$port"
echo "up" >&3
while read -r mark line <&3; do
    bash -c "$line" < /dev/null >&3 2>&1
    printf '\n%s %s\n' "$mark" $? >&3
done
