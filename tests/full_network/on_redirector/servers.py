"""Runs on a redirector: what its HAProxy knows, by its own socket (its management guide, 9.3): `show stat`.

Prints [{protocol, name, status, share, connected, backup, taken}, …]; `taken`: connections of clients on that protocol
since the start, whichever server they went to.
"""

import csv
import json
import socket

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
    connection.settimeout(10)
    connection.connect("/run/haproxy/admin.sock")
    connection.sendall(b"show stat\n")
    said = b""
    while octets := connection.recv(65536):
        said += octets
rows = list(csv.DictReader(said.decode().removeprefix("# ").splitlines()))
taken = {row["pxname"]: int(row["stot"] or 0) for row in rows if row["svname"] == "FRONTEND"}
servers = [
    {
        "protocol": row["pxname"],
        "name": row["svname"],
        "status": row["status"],
        "share": int(row["weight"] or 0),
        "connected": int(row["scur"] or 0),
        "backup": row["bck"] == "1",
        "taken": taken[row["pxname"]],
    }
    for row in rows
    if row["svname"] not in ("FRONTEND", "BACKEND") and row["pxname"] in taken
]
print(json.dumps(servers))
