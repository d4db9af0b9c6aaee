"""A letter from one Postfix to the other, with real sockets and files in between (R3.1)."""

from __future__ import annotations

import smtplib
import threading
from pathlib import Path

from edges import Clock, Lines
from holdfast.adapters.lmtp import Server
from holdfast.adapters.spool_files import SpoolFiles
from holdfast.adapters.transfer_records import Records
from holdfast.core.spool import FOLDERS
from holdfast.core.transfer import Limits
from holdfast.daemons.carrying import Carrier
from holdfast.daemons.spooling import Intake, Spooler
from spools import EPOCH, IM1, MX, TABLE, Postfix

MESSAGE = b"Received: by mx\r\nSubject: x\r\n\r\n.dot\r\n\xe4 no end"


def test_every_octet_and_option_arrives(tmp_path: Path) -> None:
    files, clock, log, postfix = SpoolFiles(), Clock(), Lines(), Postfix()
    root = tmp_path / "spools"
    for identity in TABLE.sides:
        for folder in FOLDERS:
            files.folder(root / identity / folder)
    spooler = Spooler(MX, "mail1", EPOCH, root / MX, TABLE, files, clock, log)
    spooler.adopt()
    with Server(tmp_path / "lmtp", MX, 1000, spooler, lambda why: None) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with smtplib.LMTP(str(tmp_path / "lmtp")) as client:
            client.ehlo_or_helo_if_needed()
            client.mail("s@out.example", ["BODY=8BITMIME", "RET=HDRS", "ENVID=Q1"])
            client.rcpt("a@one.example", ["NOTIFY=FAILURE", "ORCPT=rfc822;A@one.example"])
            assert client.rcpt("x@nowhere.example")[0] == 450
            assert client.data(MESSAGE)[0] == 250
        server.shutdown()
    records = Records(tmp_path / "records", "t1", files, clock)
    records.prepare()
    carrier = Carrier("t1", root, TABLE, Limits(1000), files, records, clock, log)
    assert carrier.round(MX, EPOCH, lambda: None, float("inf")).count == 0
    assert Intake(IM1, root / IM1, postfix, 3, files, clock, log).round(lambda: False).count == 0
    (kept,) = records.kept()
    header, message = records.open(kept)
    assert message == MESSAGE + b"\r\n" and postfix.got == [(kept.id, ("a@one.example",))]
    envelope, recipient = header.envelope, header.envelope.recipients[0]
    assert (envelope.sender, envelope.ret, envelope.envid, envelope.eight_bit) == ("s@out.example", "HDRS", "Q1", True)
    assert (recipient.notify, recipient.orcpt) == ("FAILURE", "rfc822;A@one.example")
    assert [entry["to"] for entry in records.logged()] == [{IM1: ["a@one.example"]}]
