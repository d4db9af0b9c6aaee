"""Writes numbered records as mail does, and tells how long each took: write.py FOLDER SECONDS.

Runs on a mail host, in a folder of an identity's mount. Every record is a file of its own (written, fsynced, renamed,
its folder fsynced) and a line of a journal (appended, fsynced), which is locked from the beginning to the end: a server
that does not let the client reclaim its lock makes the next write an error (fcntl(2), "Lost locks"). Prints a line
"N END SECONDS REPLAYED" once record N is safe, by Unix time; nothing that is printed may ever be missing. Ends at the
first error of any call with status 1.

REPLAYED is 1 where a rename said that there is no such file, and had been done: the server died between doing it and
saying so, and the next one, which cannot know (RFC 8881, 2.10.6.5: replies are kept in memory), was asked again. Mail
servers know this of NFS and look, too (Postfix: NFS_README, sane_rename).
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path


def rename(old: Path, new: Path, text: bytes) -> bool:
    """Was it told of as an error, and done all the same? By opening both: stat(2) may be answered from memory."""
    try:
        old.rename(new)
    except FileNotFoundError as told:
        try:
            old.read_bytes()
        except FileNotFoundError:
            if new.read_bytes() == text:
                return True
        raise told from None
    return False


def main() -> int:
    folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
    folder.mkdir()
    directory = os.open(folder, os.O_RDONLY)
    journal = os.open(folder / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fcntl.lockf(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        start = time.monotonic()
        text = f"{number} {'x' * 2000}\n".encode()
        try:
            file = os.open(folder / "new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(file, text)
            os.fsync(file)
            os.close(file)
            replayed = rename(folder / "new", folder / f"{number:07d}", text)
            os.fsync(directory)
            os.write(journal, text)
            os.fsync(journal)
        except OSError as why:
            print(f"record {number}: {why}", file=sys.stderr)
            return 1
        print(number, f"{time.time():.3f} {time.monotonic() - start:.3f} {replayed:d}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
