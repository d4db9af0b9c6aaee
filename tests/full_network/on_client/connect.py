"""Runs on a client: connects to a service as any program does, by the first address that the resolver gives.

python3 - SERVER PORT COUNT      prints {address: connections}
"""

import json
import socket
import sys
from collections import Counter

server, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
peers: Counter[str] = Counter()
for _ in range(count):
    with socket.create_connection((server, port), 20) as connection:
        peers[connection.getpeername()[0]] += 1
        connection.settimeout(20)
        connection.recv(200)  # the greeting: a connection that is ended before is none
print(json.dumps(peers))
