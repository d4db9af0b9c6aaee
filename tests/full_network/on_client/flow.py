"""Runs on a client: sends a letter on each way every so many seconds, however long the one before takes.

python3 - JSON
    {"run": …, "period": seconds, "count": how many on each way or null, "until": FILE, "log": FILE, "drain": seconds,
     "pause": seconds between two tries, "ca": FILE, "name": this host's, "text": a letter with @ID@ @FROM@ @TO@,
     "ways": [{"name", "key", "how", "sender", "recipient", "server", "port", "skip", "user", "password"}, …]}

Letters that nobody takes wait in order, as in a user's outbox, and are tried again until `drain` seconds after the end.
`log` gets a line of JSON when a letter has been taken: {id, way, begun, accepted, tries, cut, faults}, times in Unix
seconds; `cut`: an answer to the end of the letter was lost (RFC 1047); `faults`: what its sender would have been told
that is no mere delay: a 5xx, or a certificate of another name. Of those that were never taken `accepted` is null.
"""

import contextlib
import json
import queue
import smtplib
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

AT_ONCE = 4  # letters of one way under way at a time
PATIENCE = 30.0  # seconds for each answer

job = json.loads(sys.argv[1])
log, until = Path(job["log"]), Path(job["until"])
writing = threading.Lock()
over = threading.Event()


class Cut(Exception):
    """The letter's end was sent, and no answer came."""


class Told(Exception):
    """Something that is no mere delay."""


def exchangers(domain: str) -> list[str]:
    said = subprocess.run(["dig", "+short", "+tries=2", "MX", domain], capture_output=True, text=True, check=False)
    records = [line.split() for line in said.stdout.splitlines()]
    found = sorted((int(record[0]), record[1]) for record in records if len(record) == 2 and record[0].isdigit())
    return [name.rstrip(".") for _, name in found]


def hand_over(smtp: smtplib.SMTP, way: dict[str, Any], data: bytes) -> None:
    answered(*smtp.mail(way["sender"]))
    answered(*smtp.rcpt(way["recipient"]))
    try:
        answer = smtp.data(data)
    except smtplib.SMTPDataError:  # to DATA itself: nothing of the letter was sent
        raise
    except OSError as why:
        raise Cut(str(why)) from why
    answered(*answer)


def answered(code: int, text: bytes) -> None:
    if code >= 400:
        raise smtplib.SMTPResponseException(code, text)


@contextlib.contextmanager
def connected(server: str, port: int) -> Iterator[smtplib.SMTP]:
    """Whatever becomes of the farewell, a letter that has been taken has been taken."""
    smtp = smtplib.SMTP(server, port, local_hostname=job["name"], timeout=PATIENCE)
    try:
        yield smtp
        with contextlib.suppress(OSError):
            smtp.quit()
    finally:
        smtp.close()


def submit(way: dict[str, Any], data: bytes) -> None:
    context = ssl.create_default_context(cafile=job["ca"])
    try:
        with connected(way["server"], way["port"]) as smtp:
            smtp.starttls(context=context)
            smtp.login(way["user"], way["password"])
            hand_over(smtp, way, data)
    except ssl.SSLCertVerificationError as why:
        raise Told(f"certificate: {why.verify_message}") from why


def exchange(way: dict[str, Any], data: bytes) -> None:
    """The next exchanger when one cannot be reached or says 4xx (RFC 5321, 5.1)."""
    last: Exception = OSError(f"no exchanger of {way['recipient']} is known")
    for server in exchangers(way["recipient"].split("@")[1])[way["skip"] :]:
        try:
            with connected(server, way["port"]) as smtp:
                smtp.ehlo_or_helo_if_needed()
                hand_over(smtp, way, data)
                return
        except smtplib.SMTPResponseException as why:
            if why.smtp_code >= 500:
                raise
            last = why
        except OSError as why:
            last = why
    raise last


def post(way: dict[str, Any], data: bytes) -> None:
    words = ["/usr/sbin/sendmail", "-i", "-f", way["sender"], "--", way["recipient"]]
    subprocess.run(words, input=data.replace(b"\r\n", b"\n"), check=True)


HOW = {"submission": submit, "exchanger": exchange, "sendmail": post}


def deliver(way: dict[str, Any], letter: dict[str, Any]) -> None:
    """Until it is taken or all is over."""
    text = job["text"]
    for key, value in (("@ID@", letter["id"]), ("@FROM@", way["sender"]), ("@TO@", way["recipient"])):
        text = text.replace(key, value)
    data = text.replace("\n", "\r\n").encode()
    while not over.is_set():
        letter["tries"] += 1
        try:
            HOW[way["how"]](way, data)
        except Cut:
            letter["cut"] = True
        except (Told, OSError, subprocess.SubprocessError) as why:
            words = f"{type(why).__name__}: {why}"[:200]
            letter["last"] = words
            lasting = isinstance(why, smtplib.SMTPResponseException) and why.smtp_code >= 500
            if (lasting or isinstance(why, Told)) and words not in letter["faults"]:
                letter["faults"].append(words)
        else:
            letter["accepted"] = time.time()
            break
        over.wait(job["pause"])
    with writing, log.open("a") as to:
        to.write(json.dumps(letter) + "\n")


Outbox = queue.Queue[dict[str, Any] | None]


def work(way: dict[str, Any], outbox: Outbox) -> None:
    while (letter := outbox.get()) is not None:
        deliver(way, letter)


def begin(way: dict[str, Any]) -> tuple[Outbox, list[threading.Thread]]:
    outbox: Outbox = queue.Queue()
    workers = [threading.Thread(target=work, args=(way, outbox)) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    return outbox, workers


log.parent.mkdir(parents=True, exist_ok=True)
log.touch()
outboxes = [begin(way) for way in job["ways"]]
start, n = time.time(), 0
while not until.exists() and (job["count"] is None or n < job["count"]):
    for k, (way, (outbox, _)) in enumerate(zip(job["ways"], outboxes, strict=True)):
        # One after the other within a period, so that they do not all come in one moment.
        moment = start + (n + k / len(outboxes)) * job["period"]
        time.sleep(max(0.0, moment - time.time()))  # the rate is the point here
        ident = f"{job['run']}-{way['key']}-{n:04d}"
        outbox.put(
            {
                "id": ident,
                "way": way["name"],
                "begun": time.time(),
                "accepted": None,
                "tries": 0,
                "cut": False,
                "faults": [],
            }
        )
    n += 1
deadline = time.time() + job["drain"]
for outbox, workers in outboxes:
    for _worker in workers:
        outbox.put(None)
everybody = [worker for _, workers in outboxes for worker in workers]
for worker in everybody:
    worker.join(max(0.0, deadline - time.time()))
over.set()
for worker in everybody:
    worker.join()
print(json.dumps([json.loads(line) for line in log.read_text().splitlines()]))
