"""Opens port 5432 of UDP or TCP and records each datagram or connection: seconds since boot, protocol, source."""

import os
import socket
import sys
import time

PORT = 5432
PROTOCOL = sys.argv[1]
RECORD = os.open("/run/arrivals", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def record(source):
    source = source.removeprefix("::ffff:").partition("%")[0]
    os.write(RECORD, f"{time.monotonic():.3f} {PROTOCOL} {source}\n".encode())


kind = socket.SOCK_DGRAM if PROTOCOL == "udp" else socket.SOCK_STREAM
server = socket.socket(socket.AF_INET6, kind)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("::", PORT))
if kind == socket.SOCK_STREAM:
    server.listen(128)
record("open")
while True:
    if kind == socket.SOCK_DGRAM:
        record(server.recvfrom(64)[1][0])
    else:
        connection, address = server.accept()
        record(address[0])
        connection.close()
