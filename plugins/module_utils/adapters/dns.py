"""Telling DNS who serves an identity: RFC 2136 updates signed with TSIG (RFC 8945), by dnspython.

The same publication may be sent twice, by whoever goes on with a takeover; an older one is refused. For that the
identity's TXT record tells the epoch, and the update to its zone demands that the record still is what was read.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from ..core.model import Identity
from ..core.ports import Unavailable

MX_IDENTITY = 10
MX_RELAY = 20  # of the first relay; each further one 10 more (R2.9: the other site's relay comes first)
EPOCH = re.compile(r"\bepoch=(\d+)\b")

Type = dns.rdatatype.RdataType
Records = dict[tuple[dns.name.Name, Type], set[dns.rdata.Rdata]]


class DnsUpdate:
    """Implements `core.ports.NameService`.

    `server`: address of the zones' primary; `zones`: those that the key may change, names outside of them are left
    alone; `relay_names`: host name of each relay, for the domains' second MX; `reached`: of each owner the addresses at
    which clients reach the identity, where those are not its own (redirectors); `ttl` and `timeout` in seconds.
    Raises ValueError for a key or an algorithm that is none.
    """

    def __init__(
        self,
        server: str,
        zones: Sequence[str],
        key_name: str,
        secret: str,
        relay_names: Mapping[str, str],
        algorithm: str = "hmac-sha256",
        ttl: int = 60,
        port: int = 53,
        timeout: float = 10.0,
        reached: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._server = server
        self._reached = reached or {}
        self._port = port
        self._ttl = ttl
        self._timeout = timeout
        self._zones = [dns.name.from_text(z) for z in zones]
        self._relay_names = dict(relay_names)
        if dns.name.from_text(algorithm) not in dns.tsig.mac_sizes:
            raise ValueError(f"dns.algorithm: {algorithm!r} is unknown; use hmac-sha256")
        try:
            self._key = dns.tsig.Key(key_name, base64.b64decode(secret.strip(), validate=True), algorithm)
        except binascii.Error as why:
            raise ValueError(f"dns: the secret of {key_name} is no base64: {why}") from why

    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        """Put the identity's records into every zone that holds some of them, then ask whether they are there."""
        at = self._reached.get(owner, ())
        wanted = records(identity, owner, epoch, self._relay_names, primary=primary, at=at)
        done = []
        for zone in self._zones:
            part = {key: values for key, values in wanted.items() if self._zone_of(key[0]) == zone}
            if part:
                self._update(zone, part, identity, epoch)
                self._check(part)
                kinds = ", ".join(f"{name.to_text(True)} {kind.name}" for name, kind in part)
                done.append(f"{zone.to_text(True)}: {kinds}")
        return "; ".join(done) or f"no zone of ours holds {identity.name}"

    def _zone_of(self, name: dns.name.Name) -> dns.name.Name | None:
        """The innermost of the zones."""
        return max((z for z in self._zones if name.is_subdomain(z)), key=len, default=None)

    def _update(self, zone: dns.name.Name, part: Records, identity: Identity, epoch: int) -> None:
        update = dns.update.UpdateMessage(zone, keyring=self._key)
        note = note_name(identity)
        if (note, Type.TXT) in part:
            there = self._ask(note, Type.TXT)
            known = max((int(m.group(1)) for r in there if (m := EPOCH.search(r.to_text()))), default=0)
            if known > epoch:
                raise Unavailable(f"DNS already tells epoch {known} of {identity.name}, newer than {epoch}")
            if there:
                for rdata in there:
                    update.present(note, rdata)
            else:
                update.absent(note, Type.TXT)
        for (name, kind), values in part.items():
            update.delete(name, kind)
            for rdata in values:
                update.add(name, self._ttl, rdata)
        answer = self._send(update)
        if answer.rcode() != dns.rcode.NOERROR:
            raise Unavailable(f"{self._where()}: update of {zone} refused: {dns.rcode.to_text(answer.rcode())}")

    def _check(self, part: Records) -> None:
        for (name, kind), values in part.items():
            there = self._ask(name, kind)
            if there != values:
                said = ", ".join(sorted(r.to_text() for r in there)) or "nothing"
                raise Unavailable(f"{self._where()}: {name} {kind.name} is {said} after the update")

    def _ask(self, name: dns.name.Name, kind: Type) -> set[dns.rdata.Rdata]:
        """What the primary itself holds."""
        answer = self._send(dns.message.make_query(name, kind))
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Unavailable(f"{self._where()}: query for {name} {kind.name}: {dns.rcode.to_text(answer.rcode())}")
        if not answer.flags & dns.flags.AA:
            raise Unavailable(f"{self._where()} is no authority for {name}")
        rrset = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind)
        return set() if rrset is None else set(rrset)

    def _send(self, message: dns.message.Message) -> dns.message.Message:
        try:
            return dns.query.tcp(message, self._server, self._timeout, self._port)
        except (dns.exception.DNSException, OSError, EOFError) as why:
            raise Unavailable(f"{self._where()}: {str(why) or type(why).__name__}") from why

    def _where(self) -> str:
        return f"DNS server {self._server} port {self._port}"


class EveryServer:
    """Implements `core.ports.NameService` where several name servers tell of an identity, each of its view."""

    def __init__(self, servers: Iterable[DnsUpdate]) -> None:
        self._servers = tuple(servers)

    def publish(self, identity: Identity, owner: str, epoch: int, *, primary: bool = True) -> str:
        """At one after the other, and all are tried; they are told again when one of them was silent.

        Raises Unavailable with what each of those said.
        """
        said, missing = [], []
        for server in self._servers:
            try:
                said.append(server.publish(identity, owner, epoch, primary=primary))
            except Unavailable as why:
                missing.append(str(why))
        if missing:
            raise Unavailable("; ".join(missing))
        return "; ".join(said) or f"no name server tells of {identity.name}"


def note_name(identity: Identity) -> dns.name.Name:
    """Where the owner and its epoch are told."""
    return dns.name.from_text(f"_holdfast.{identity.name}")


def records(
    identity: Identity,
    owner: str,
    epoch: int,
    relay_names: Mapping[str, str],
    *,
    primary: bool = True,
    at: Sequence[str] = (),
) -> Records:
    """What DNS should say about an identity: its address, its owner, and who takes mail for its domains.

    `at`: addresses at which it is reached, if not its own. Not `primary`: only the relays take mail (R1.9); an identity
    without a relay whose name is known takes it itself.
    """
    found: Records = {
        (dns.name.from_text(identity.name), Type.A): {_rdata(Type.A, text) for text in at or (identity.address,)},
        (note_name(identity), Type.TXT): {_rdata(Type.TXT, f'"owner={owner} epoch={epoch}"')},
    }
    named = [relay_names[r].rstrip(".") for r in identity.relays if r in relay_names]
    relays = [f"{MX_RELAY + 10 * place} {name}." for place, name in enumerate(named)]
    for domain in identity.domains:
        exchanges = [*([f"{MX_IDENTITY} {identity.name}."] if primary or not relays else []), *relays]
        found[dns.name.from_text(domain), Type.MX] = {_rdata(Type.MX, text) for text in exchanges}
    return found


def _rdata(kind: Type, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text)
