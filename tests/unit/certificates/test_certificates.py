"""The module `certificates`: what it makes, what it leaves alone, and what it makes anew. All of it with real files."""

from __future__ import annotations

import datetime
import importlib
import ipaddress
import json
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from holdfast.adapters.pki import Authority, Leaf

HOST = {"name": "mail1", "names": ["mail1", "10.1.1.11", "2001:db8::11"]}
OTHER = {"name": "mx.alpha.example", "names": ["mx.alpha.example", "203.0.113.10"]}
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


class Run:
    """The module in this very process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *wanted: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        module = importlib.import_module("ansible_collections.holdfast.mail.plugins.modules.certificates")
        self._capsys.readouterr()
        given = {"folder": str(self.folder), "certificates": list(wanted), "_ansible_check_mode": check, **more}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / f"{name}.pem").read_bytes())

    def later(self, days: float, **more: int) -> Authority:
        """The same folder, seen so many days from now."""
        terms = {"days": 365, "renew_days": 30, **more}
        return Authority(self.folder, "Holdfast", terms["days"], terms["renew_days"], NOW + days * DAY)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(tmp_path / "made/pki", capsys)


def test_all_is_made_once(run: Run) -> None:
    assert run(HOST, OTHER)["made"] == ["ca", "mail1", "mx.alpha.example"]
    before = {p: p.read_bytes() for p in run.folder.iterdir()}
    assert len(before) == 6
    again = run(HOST, OTHER)
    assert (again["changed"], again["made"]) == (False, [])
    assert {p: p.read_bytes() for p in run.folder.iterdir()} == before


def test_keys_are_private(run: Run) -> None:
    run(HOST)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (run.folder, *run.folder.iterdir())}
    assert modes == {"pki": 0o700, "ca.key": 0o600, "ca.pem": 0o644, "mail1.key": 0o600, "mail1.pem": 0o644}


def test_check_mode_tells_and_makes_nothing(run: Run) -> None:
    assert run(HOST, check=True)["made"] == ["ca", "mail1"]
    assert not run.folder.exists()


def test_a_leaf(run: Run) -> None:
    run(HOST)
    leaf = run.certificate("mail1")
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mail1"]
    addresses = [ipaddress.ip_address("10.1.1.11"), ipaddress.ip_address("2001:db8::11")]
    assert names.get_values_for_type(x509.IPAddress) == addresses
    assert leaf.subject.rfc4514_string() == "CN=mail1"
    usage = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert usage == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    key = serialization.load_pem_private_key((run.folder / "mail1.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == leaf.public_key()
    assert leaf.not_valid_before_utc < NOW
    assert abs(leaf.not_valid_after_utc - NOW - 365 * DAY) < DAY


def shake_hands(server: Run, client: Run, name: str) -> None:
    """A whole TLS dialogue in memory, with certificates asked for on both sides. Raises ssl.SSLError."""
    contexts = []
    for purpose, side in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(purpose)
        context.load_verify_locations(side.folder / "ca.pem")
        context.load_cert_chain(side.folder / "mail1.pem", side.folder / "mail1.key")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        contexts.append(context)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        contexts[0].wrap_bio(up, down, server_side=True),
        contexts[1].wrap_bio(down, up, server_hostname=name),
    ]
    done = [False, False]
    for _ in range(10):
        for n, end in enumerate(ends):
            if not done[n]:
                try:
                    end.do_handshake()
                    done[n] = True
                except ssl.SSLWantReadError:
                    pass
        if all(done):
            return
    raise AssertionError("no end of the dialogue")


def test_both_sides_of_tls_accept_them(run: Run) -> None:
    run(HOST)
    for name in HOST["names"]:
        shake_hands(run, run, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(run, run, "mail2")


def test_another_authority_is_not_accepted(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = Run(tmp_path / "foreign", capsys)
    run(HOST)
    foreign(HOST)
    with pytest.raises(ssl.SSLError):
        shake_hands(foreign, run, "mail1")


def test_other_names_make_one_certificate_anew(run: Run) -> None:
    run(HOST, OTHER)
    changed = {"name": "mail1", "names": ["mail1", "10.1.1.12"]}
    assert run(changed, OTHER, check=True)["made"] == ["mail1"]
    assert run(changed, OTHER)["made"] == ["mail1"]
    assert run(changed, OTHER)["made"] == []


def test_another_authority_makes_all_anew(run: Run) -> None:
    run(HOST, OTHER)
    (run.folder / "ca.key").unlink()
    assert run(HOST, OTHER)["made"] == ["ca", "mail1", "mx.alpha.example"]
    shake_hands(run, run, "mail1")


def test_another_authority_is_refused_where_it_is_not_wanted(run: Run) -> None:
    run(HOST)
    assert run(HOST, new_authority=False)["changed"] is False
    (run.folder / "ca.key").unlink()
    before = (run.folder / "ca.pem").read_bytes()
    result = run(HOST, new_authority=False)
    assert result["failed"] and "put both back from the backup" in result["msg"]
    assert (run.folder / "ca.pem").read_bytes() == before


def test_days_that_would_alarm_before_they_are_renewed_are_refused(run: Run) -> None:
    assert "renew_days is 20" in run(HOST, renew_days=20)["msg"]
    assert "days is 30" in run(HOST, days=30)["msg"]
    assert not run.folder.exists()


def test_an_interrupted_run_is_mended(run: Run) -> None:
    """The key is written before the certificate: a crash between the two leaves a pair that does not fit."""
    run(HOST, OTHER)
    (run.folder / "mail1.key").write_bytes((run.folder / "mx.alpha.example.key").read_bytes())
    assert run(HOST, OTHER)["made"] == ["mail1"]
    (run.folder / "mail1.pem").unlink()
    assert run(HOST, OTHER)["made"] == ["mail1"]
    shake_hands(run, run, "mail1")


def test_what_runs_out_is_renewed(run: Run) -> None:
    run(HOST)
    leaf = Leaf("mail1", tuple(HOST["names"]))
    assert run.later(334).due([leaf]) == []
    assert run.later(336).due([leaf]) == [leaf]
    assert run.later(400).due([leaf]) == [leaf]
    assert run.later(336, renew_days=10).due([leaf]) == []
    run.later(336).make(leaf)
    assert run.later(336).due([leaf]) == []


def test_a_renewed_authority_and_the_old_one_trust_each_other(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(HOST)
    old = Run(tmp_path / "old", capsys)
    old.folder.mkdir()
    for path in run.folder.iterdir():
        (old.folder / path.name).write_bytes(path.read_bytes())
    assert not run.later(3280).missing()
    late = run.later(3290)
    assert late.missing()
    late.make_authority()
    assert not late.missing()
    leaf = Leaf("mail1", tuple(HOST["names"]))
    assert run.later(0).due([leaf]) == []
    # The new authority is not valid yet by today's clock, so look at the signatures alone.
    new = run.certificate("ca")
    old.certificate("mail1").verify_directly_issued_by(new)
    run.later(0).make(leaf)
    run.certificate("mail1").verify_directly_issued_by(old.certificate("ca"))
    assert new.serial_number != old.certificate("ca").serial_number


def test_a_folder_that_is_damaged(run: Run) -> None:
    run(HOST)
    (run.folder / "mail1.pem").write_text("nonsense\n")
    result = run(HOST)
    assert result["failed"] is True
    assert "mail1.pem" in result["msg"]
    assert "remove" in result["msg"]
