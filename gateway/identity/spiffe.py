"""SPIFFE IDs as Signalfire uses them: `spiffe://<trust domain>/<role>/<name>`.

Rules, in order (SPIFFE-ID §2; X509-SVID §2, §5.2; RFC 5280 §4.2.1.6):

1. The scheme is `spiffe`, written in lower case, followed by `://`.
2. The trust domain is a nation's ISO 3166-1 alpha-3 code in lower case: three letters. No userinfo, no port.
3. The path is exactly a role (`gateway`, `c2`, `officer`) and a name. No query, no fragment, no percent-encoding, no
   empty segment, no trailing slash.
4. The name is one DNS label: 1 to 63 of `a-z`, `0-9`, `-`, with no `-` at either end, for a gateway is also dialled
   by a DNS name made of it.
5. A certificate holds exactly one URI in its subject alternative names, and that URI is the ID.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509

from gateway.identity.errors import Refusal, SpiffeIdError

DNS_SUFFIX: Final = "signalfire.internal"

_TRUST_DOMAIN: Final = re.compile(r"[a-z]{3}")
_NODE: Final = re.compile(r"[A-Z]{3}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ID: Final = re.compile(r"spiffe://(?P<trust_domain>[^/]*)/(?P<role>[^/]*)/(?P<name>[^/]*)")
_SHAPE: Final = "Write it as spiffe://<alpha-3 code, lower case>/<gateway|c2|officer>/<name of a-z, 0-9, ->."


class Role(StrEnum):
    """What the holder of an identity may be; each role has a certificate authority of its own."""

    GATEWAY = "gateway"
    C2 = "c2"
    OFFICER = "officer"


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """One identity. Constructing one checks it, so that a value of this type is always well-formed.

    Raises `SpiffeIdError` with code `MALFORMED_ID`.
    """

    trust_domain: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        if not _TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise _malformed(f"the trust domain {self.trust_domain!r} is not a lower-case alpha-3 code", "trust domain")
        if not isinstance(self.role, Role):
            raise _malformed(f"{self.role!r} is not a role", "role")
        if not _NAME.fullmatch(self.name):
            raise _malformed(f"the name {self.name!r} is not one DNS label in lower case", "name")

    @classmethod
    def of(cls, node: str, role: Role, name: str) -> SpiffeId:
        """The ID of `name` in the nation `node` (`JPN`)."""
        return cls(trust_domain_of(node), role, name)

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """The ID written as `text`; refuses every other spelling of it (rules 1 to 4)."""
        found = _ID.fullmatch(text)
        if found is None:
            raise _malformed(f"{text[:80]!r} is not a SPIFFE ID of a node", "whole ID")
        try:
            role = Role(found["role"])
        except ValueError:
            raise _malformed(f"{found['role']!r} is not a role", f"role of {text!r}") from None
        return cls(found["trust_domain"], role, found["name"])

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> SpiffeId:
        """The one ID that `certificate` names (rule 5)."""
        where = "subject alternative names"
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            raise _malformed("the certificate names nobody: it has no alternative names", where) from None
        except (ValueError, x509.DuplicateExtension) as unreadable:
            raise _malformed(f"the certificate's extensions cannot be read: {unreadable}", where) from unreadable
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(uris) != 1:
            raise _malformed(f"the certificate holds {len(uris)} URIs where exactly one is allowed", where)
        return cls.parse(uris[0])

    @property
    def node(self) -> str:
        """The alpha-3 code of the nation in upper case, as everywhere outside SPIFFE: `JPN`."""
        return self.trust_domain.upper()

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/{self.role.value}/{self.name}"


def trust_domain_of(node: str) -> str:
    """`JPN` -> `jpn`. Raises `SpiffeIdError` unless `node` is three upper-case letters."""
    if not _NODE.fullmatch(node):
        raise SpiffeIdError(
            Refusal.MALFORMED_ID,
            f"{node!r} is not a node",
            where="node",
            mend="Give the nation's ISO 3166-1 alpha-3 code in upper case, such as JPN.",
        )
    return node.lower()


def dns_name(spiffe_id: SpiffeId) -> str:
    """The DNS name by which a dialer checks a gateway's certificate: `a.gateway.jpn.signalfire.internal`.

    It need not resolve: a dialer connects to an address and asks for this name.
    """
    return f"{spiffe_id.name}.{spiffe_id.role.value}.{spiffe_id.trust_domain}.{DNS_SUFFIX}"


def _malformed(what: str, where: str) -> SpiffeIdError:
    return SpiffeIdError(Refusal.MALFORMED_ID, what, where=where, mend=_SHAPE)
