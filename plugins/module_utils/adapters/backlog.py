"""How many letters a Postfix has in hand: what it has accepted and not tried to deliver yet.

By names alone. postqueue(1) opens each message, and over a line 1,000 of them take half a minute.
"""

from __future__ import annotations

from . import command

# Not `deferred`: what waits for a server elsewhere keeps nobody here busy.
QUEUES = ("incoming", "active")
WITHIN = 5.0  # seconds


def in_hand(queue: str, run: command.Run = command.run) -> int | None:
    """None when the store does not say in time; another process looks, since its files may not answer at all."""
    folders = [f"{queue}/{name}" for name in QUEUES]
    # NFS keeps folders for up to 60 s and statfs(2) not at all: that one the server itself must answer.
    asked = ["stat", "--file-system", "--format=%T", queue]
    argv = ["find", *folders, "-ignore_readdir_race", "-type", "f", "-printf", "."]
    try:
        run(asked, timeout=WITHIN)
        return len(run(argv, timeout=WITHIN))
    except command.CommandError:
        return None
