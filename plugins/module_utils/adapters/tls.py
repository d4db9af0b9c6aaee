"""TLS contexts for services that are addressed by number and named by certificate."""

from __future__ import annotations

import ssl
from typing import Any


class NamedContext(ssl.SSLContext):
    """Asks for, and checks, `name` whatever host the client library connects to."""

    name: str

    def wrap_socket(self, sock: Any, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        kwargs["server_hostname"] = self.name
        return super().wrap_socket(sock, *args, **kwargs)


def client_context(name: str, ca: str | None, verify: bool = True) -> NamedContext:
    """`ca`: path of the certificates to trust, None for the system's. Raises OSError when it can't be read."""
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.name = name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca)
    return context
