"""ProxyCommand of the lab's ssh: connect inside the lab's network namespace and hand the socket to ssh.

Runs alone (`python -I -S dial.py NETNS HOST PORT`): it starts with every new connection, so it imports little. With
ProxyUseFdpass no process stays behind to copy bytes, and the machine needs no netcat.
"""

import array
import os
import socket
import sys

CONNECT_WITHIN = 60  # seconds; as long as Ansible waits (ansible.cfg)


def main(netns: str, host: str, port: str) -> None:
    """Send the connected socket over standard output, which ssh made a socket for that."""
    os.setns(os.open(netns, os.O_RDONLY), os.CLONE_NEWNET)
    connection = socket.create_connection((host, int(port)), timeout=CONNECT_WITHIN)
    connection.settimeout(None)
    with socket.socket(fileno=os.dup(1)) as ssh:
        ssh.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [connection.fileno()]))])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except OSError as error:
        sys.exit(f"can't reach {sys.argv[2]} in the lab: {error}; see `bin/lab status`")
