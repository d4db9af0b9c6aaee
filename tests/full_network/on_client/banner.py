"""Runs on a client: who greets at an address by SMTP.

python3 - ADDRESS SECONDS      prints the name as JSON, empty when nobody greets within so many seconds

No nc(1): it ends its own side of the connection at once, and a redirector that sees that before it has a server for the
client closes the connection without one.
"""

import json
import socket
import sys

address, patience = sys.argv[1], float(sys.argv[2])
said: list[str] = []
try:
    with socket.create_connection((address, 25), patience) as connection:
        connection.settimeout(patience)
        said = connection.recv(200).decode(errors="replace").split()
        connection.sendall(b"QUIT\r\n")
        connection.recv(200)
except OSError:
    pass
print(json.dumps(said[1] if said[:1] == ["220"] and len(said) > 1 else ""))
