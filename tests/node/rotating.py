"""What a nation's people do to change keys, as functions: at the gateway, and where the nation's root lies."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.demo.deployment import Deployed
from gateway.identity import admission, issuing, nation, next_bundle
from gateway.identity.installing import install
from gateway.identity.keyring import KeyKind
from gateway.identity.locked import KeyLock
from gateway.identity.rotation import KINDS, make_request
from gateway.identity.spiffe import Role

SIGNING = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ)


@dataclass(slots=True)
class People:
    """The people of one nation. Their clock goes a second on with each thing that they put on record."""

    place: Deployed
    _said: int = field(default=0)

    @property
    def pki(self) -> Path:
        """The nation's directory."""
        return self.place.directory / "pki"

    @property
    def keys(self) -> Path:
        """The gateway's keys directory."""
        return self.place.directory / "keys"

    def _now(self) -> datetime:
        self._said += 1
        return datetime.now(UTC) + timedelta(seconds=self._said)

    def rotate(self, kinds: Collection[str] = KINDS) -> None:
        """New keys of these kinds: made at the gateway, admitted by the nation, announced in its next bundle."""
        request, _ = make_request(self.keys, KeyLock(self.keys), self.place.node, kinds, now=datetime.now(UTC))
        if request is None:
            return
        admitted = admission.admit(self.pki, request, now=self._now())
        if admitted.certificate is not None:
            # The clock of these people is ahead, and nobody believes a certificate from the future.
            out = self._outgoing()
            admission.write_certificate(out, admitted.certificate)
        self.announce()

    def retire(self, key_id: str | None = None, since: datetime | None = None) -> None:
        """Takes out of use what is not the newest of its kind, or one key, and says so in the next bundle."""
        admission.retire(self.pki, now=datetime.now(UTC), key_id=key_id, since=since)
        self.announce()

    def announce(self) -> int:
        """Signs the next bundle and installs it; returns its sequence."""
        bundle = next_bundle.write_bundle(self.pki, now=datetime.now(UTC), lifetime=timedelta(days=1))
        out = self._outgoing()
        admission.write_outgoing(self.pki, out)
        install(
            out, self.keys, KeyLock(self.keys), self.place.node, now=datetime.now(UTC),
            root=nation.read_root_vkey(self.pki), bundle=self.place.bundle,
        )  # fmt: skip
        shutil.rmtree(out)
        return bundle.sequence

    def new_authority(self) -> None:
        """A new authority of gateways, announced beside the former; the nation's own systems are told of both."""
        admission.replace_authority(self.pki, Role.GATEWAY, now=datetime.now(UTC))
        both = nation.authority_certificate(self.pki, Role.GATEWAY).read_bytes()
        for path in self.place.directory.rglob(issuing.GATEWAY_AUTHORITY):
            path.write_bytes(both)
        self.announce()

    def drop_former_authority(self) -> None:
        """The former authority of gateways is believed no more."""
        admission.drop_former_authorities(self.pki, Role.GATEWAY)
        self.announce()

    def revoke_leaf(self) -> None:
        """Revokes the gateway's certificate, and says so in the next bundle."""
        admission.revoke(self.pki, (self.keys / "gateway.crt.pem").read_bytes(), now=datetime.now(UTC))
        self.announce()

    def _outgoing(self) -> Path:
        out = self.place.directory / "outgoing"
        out.mkdir(mode=0o700, exist_ok=True)
        return out
