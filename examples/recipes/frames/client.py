"""Sends each argument as a request to the server of the recipe "frames", and prints the answers."""

import socket
import struct
import sys

HEADER = struct.Struct(">BBI")  # version, type, length of the body
REQUEST, ANSWER, ERROR = 1, 2, 3


def read_exactly(stream, n):
    data = stream.read(n)
    if len(data) < n:
        sys.exit("the stream has ended within a frame")
    return data


host, port, *texts = sys.argv[1:]
with socket.create_connection((host, int(port)), timeout=10) as conn, conn.makefile("rb") as stream:
    for text in texts:
        body = text.encode()
        conn.sendall(HEADER.pack(1, REQUEST, len(body)) + body)
    for _ in texts:
        version, kind, length = HEADER.unpack(read_exactly(stream, HEADER.size))
        body = read_exactly(stream, length).decode()
        if version != 1 or kind != ANSWER:
            sys.exit(f"version {version}, type {kind}: {body!r}")
        print(ascii(body)[1:-1])
