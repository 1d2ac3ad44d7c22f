"""Two nations, each with its three authorities, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.identity.authority import Authority, Leaf, Validity
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role


@dataclass(frozen=True, slots=True)
class World:
    """The authorities of JPN and KOR, and a time at which all of them are in force: the present, for TLS itself
    takes no other."""

    now: datetime
    authorities: Mapping[tuple[str, Role], Authority]

    def authority(self, node: str, role: Role = Role.GATEWAY) -> Authority:
        return self.authorities[node.lower(), role]

    def leaf(self, node: str, role: Role = Role.GATEWAY, name: str = "a") -> Leaf:
        return self.authority(node, role).issue_leaf(name, Validity.starting(self.now, timedelta(days=1)))

    def believed(self) -> dict[tuple[str, Role], Issuers]:
        return {key: Issuers.of([authority.certificate]) for key, authority in self.authorities.items()}
