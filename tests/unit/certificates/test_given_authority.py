"""An intermediate authority of the operator's own PKI in place of the one that would be made (docs/production.md)."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from holdfast.adapters.pki import Authority, Leaf

NOW = datetime.datetime.now(datetime.UTC)
LEAF = Leaf("mx.alpha.example", ("mx.alpha.example", "203.0.113.10"))
PLAIN = serialization.NoEncryption()
Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def signed(name: str, path_length: int, by: Pair | None, days: int) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(by[1] if by else key, hashes.SHA256())
    )
    return certificate, key


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with what the operator has put there, and nothing else."""
    root = signed("Root of ours", 1, None, 7000)
    certificate, key = signed("Mail of ours", 0, root, 3000)
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(pem) + root[0].public_bytes(pem))
    (tmp_path / "ca.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, PLAIN))
    return tmp_path


def test_it_signs_and_stays_what_it_is(given: Path) -> None:
    before = (given / "ca.pem").read_bytes()
    authority = Authority(given, "Holdfast", 365, 30, NOW)
    assert not authority.unfounded() and not authority.missing()
    assert authority.due([LEAF]) == [LEAF]
    authority.make(LEAF)
    assert authority.due([LEAF]) == [] and (given / "ca.pem").read_bytes() == before


def test_whoever_trusts_ca_pem_trusts_what_it_signs(given: Path) -> None:
    Authority(given, "Holdfast", 365, 30, NOW).make(LEAF)
    leaf = given / f"{LEAF.name}.pem"
    argv = ["openssl", "verify", "-verify_hostname", LEAF.name, "-CAfile", str(given / "ca.pem"), str(leaf)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
