"""A certificate authority in a folder on the controller, and leaf certificates signed by it.

Keys are EC P-256, written with mode 0600. Made with the library `cryptography`; profile after RFC 5280.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Leaf:
    """A certificate that is wanted: `name` is its file name; `names` DNS names or IP addresses.

    Its subject has the name as common name, without `common_name` as organizational unit: etcd's gateway turns clients
    away whose certificate has a common name, since it can't use that as a user's name (etcd 3.5, embed/serve.go).
    """

    name: str
    names: tuple[str, ...]
    common_name: bool = True

    @property
    def subject(self) -> x509.Name:
        kind = NameOID.COMMON_NAME if self.common_name else NameOID.ORGANIZATIONAL_UNIT_NAME
        return x509.Name([x509.NameAttribute(kind, self.name)])


def _write(path: Path, data: bytes, mode: int) -> None:
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """The authority in `folder`: `ca.pem`, `ca.key`, and NAME.pem, NAME.key for every leaf.

    `days`: how long a leaf is valid; `renew_days`: a leaf with less left is made anew; the authority's own is ten times
    as long.
    """

    def __init__(self, folder: Path, subject: str, days: int, renew_days: int, now: datetime.datetime) -> None:
        self.folder = folder
        self.subject = subject
        self.days = days
        self.renew_days = renew_days
        self.now = now

    def due(self, leaves: Iterable[Leaf]) -> list[Leaf]:
        """Those not there, running out, of another subject, names or authority, or that do not fit their key."""
        ca = self._load("ca")
        return [leaf for leaf in leaves if ca is None or not self._good(leaf, ca)]

    def missing(self) -> bool:
        """No authority, or one that would end before a leaf that is made now."""
        ca = self._load("ca")
        return ca is None or ca.not_valid_after_utc - self.now < datetime.timedelta(days=self.days)

    def unfounded(self) -> bool:
        """No certificate and key that belong together: one made now would trust nothing that was made before."""
        return self._load("ca") is None

    def make_authority(self) -> None:
        """A renewed authority keeps its key: what it has signed stays good, whichever of the two a host has."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1()) if self._load("ca") is None else self._ca_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.subject)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(name, name, key, self.days * 10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        # The key first: a certificate without its key would look whole.
        _write(self.folder / "ca.key", _key_pem(key), 0o600)
        _write(self.folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def make(self, leaf: Leaf) -> None:
        ca = self._load("ca")
        if ca is None:
            raise FileNotFoundError(self.folder / "ca.pem")
        ca_key = self._ca_key()
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(leaf.subject, ca.subject, key, self.days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(n) for n in leaf.names]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
                critical=False,
            )
            .sign(ca_key, hashes.SHA256())
        )
        _write(self.folder / f"{leaf.name}.key", _key_pem(key), 0o600)
        _write(self.folder / f"{leaf.name}.pem", certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A little in the past, for hosts whose clocks run behind.
            .not_valid_before(self.now - datetime.timedelta(hours=1))
            .not_valid_after(self.now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    def _load(self, name: str) -> x509.Certificate | None:
        pem, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not pem.exists() or not key.exists():
            return None
        try:
            found = x509.load_pem_x509_certificate(pem.read_bytes())
            fits = found.public_key() == serialization.load_pem_private_key(key.read_bytes(), None).public_key()
        except ValueError as why:
            raise ValueError(f"{pem} or its key cannot be read ({why}); remove both to have them made anew") from why
        # After a crash between the two there may be a new key beside an old certificate.
        return found if fits else None

    def _ca_key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{self.folder / 'ca.key'} is no EC key; remove the folder to begin anew")
        return key

    def _good(self, leaf: Leaf, ca: x509.Certificate) -> bool:
        found = self._load(leaf.name)
        if found is None or found.not_valid_after_utc - self.now < datetime.timedelta(days=self.renew_days):
            return False
        try:
            found.verify_directly_issued_by(ca)
        except Exception:  # noqa: BLE001 - the library raises several kinds, all of which mean "not by this authority"
            return False
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return list(names) == [_alternative(n) for n in leaf.names] and found.subject == leaf.subject
