"""What the distribution's fence_virsh says to a hypervisor, answered by the lab's power switch.

fence_virsh (Debian package fence-agents-virsh 4.16) logs in by SSH with a terminal, starts a shell that prompts with
`[EXPECT]# `, and types `virsh domstate HOST`, `virsh destroy HOST`, `virsh start HOST` and `quit`, one line each. So a
takeover in the lab can be fenced by a program that others wrote and that knows nothing of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

PROMPT = "[EXPECT]# "
LONGEST = 4096  # characters of a line

# virsh's word: the switch's verb, and how virsh says that it did not do it
WORDS = {
    "domstate": ("status", "failed to get domain"),
    "destroy": ("off", "Failed to destroy domain"),
    "start": ("on", "Failed to start domain"),
}


def asked_for(command: str) -> bool:
    """Is this the command by which fence_virsh starts its shell?"""
    return PROMPT.strip() in command.replace("\\", "")


def reply(line: str, answer: Callable[[str], tuple[str, int]]) -> str:
    """What virsh would print. `answer`: the switch's line and status for `VERB HOST`."""
    words = line.split()
    if len(words) != 3 or words[0] != "virsh" or words[1] not in WORDS:
        return f"error: unknown command: '{line[:80]}'; it is virsh {', '.join(WORDS)} HOST"
    verb, failed = WORDS[words[1]]
    said, status = answer(f"{verb} {words[2]}")
    if status != 0:
        return f"error: {failed} '{words[2]}': {said}"
    if verb == "status":
        return "running" if said.endswith(" on") else "shut off"
    return f"Domain '{words[2]}' {'destroyed' if verb == 'off' else 'started'}"


def session(
    receive: Callable[[int], bytes], send: Callable[[bytes], object], answer: Callable[[str], tuple[str, int]]
) -> Iterator[tuple[str, str]]:
    """Talk until the caller quits or hangs up; yields each line with its reply. Raises OSError."""
    send(PROMPT.encode())
    left = ""
    while data := receive(LONGEST):
        *lines, left = (left + data.decode(errors="replace")).replace("\r", "\n").split("\n")
        for line in filter(None, (one.strip() for one in lines)):
            if line == "quit":
                return
            said = reply(line, answer)
            send(f"{said}\r\n{PROMPT}".encode())
            yield line, said
        left = left[-LONGEST:]
