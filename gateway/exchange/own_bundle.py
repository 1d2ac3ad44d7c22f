"""This node's own trust bundle: what its partners are told, and which keys it is to use.

Rules for taking up a bundle from the configured file, in order; one that breaks a rule changes nothing, loudly:

1. It is signed by the node's own root, which is pinned in the configuration, has not expired, and is not older than the
   one on record.
2. Each key in use for signing stands in it: among the current keys or, where it is to be taken out of use at once,
   among the retired ones. Partners would refuse everything that another key signs.
3. For each of these kinds one of its current keys is in use or in the keyring.
4. The first of its sealing keys is in the keyring: that is the one for which partners seal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from gateway.exchange.partners import public_keys
from gateway.identity.errors import IdentityError, Refusal, TrustBundleError
from gateway.identity.keyring import HeldKey, KeyKind
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.signatory import Partner, Signatory

log = logging.getLogger(__name__)

SIGNING: Final = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ)
"""Kinds of keys with which this node signs, and which partners must know first."""


class OwnBundle:
    """The bundle in use; none where the configuration names none."""

    def __init__(
        self,
        signatory: Signatory,
        now: Callable[[], datetime],
        *,
        root: str = "",
        path: Path | None = None,
        last_sequence: Callable[[str], int] = lambda _: 0,
        recorded: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        """`root` is the verifier key of this node's root, and `path` the file; both or none."""
        self._signatory = signatory
        self._now = now
        self.root = root
        """Verifier key of this node's root, as it is pinned."""
        self._path = path
        self._last_sequence = last_sequence
        self._recorded = recorded
        self.bundle: TrustBundle | None = None
        self.keys: Partner | None = None
        """Its public keys."""
        self.note = b""
        """Its signed note; empty where there is none."""
        self.problem = ""
        """Why the file, as it is now, is not taken up."""

    @property
    def configured(self) -> bool:
        """Whether there is a file to watch."""
        return self._path is not None

    @property
    def sequence(self) -> int:
        """The sequence of the bundle in use; 0 where there is none."""
        return 0 if self.bundle is None else self.bundle.sequence

    @property
    def in_force(self) -> bool:
        """Whether there is one that has not expired."""
        return self.bundle is not None and self._now() < self.bundle.expires

    def restore(self) -> None:
        """Takes up again what is on record. Raises StoreError."""
        raw = self._recorded(self._signatory.node) if self.configured else None
        if raw is not None:
            self._try(raw, "on record")

    def refresh(self) -> bool:
        """Takes up the file where it is another than that in use. Returns whether another bundle is in use now.

        One that is refused is tried again at the next look: the clock, the store or the keyring may have been at fault.
        """
        if self._path is None:
            return False
        try:
            raw = self._path.read_bytes()
        except OSError as unreadable:
            self._refuse(f"{self._path} cannot be read: {unreadable.strerror}")
            return False
        if raw == self.note:
            self.problem = ""
            return False
        return self._try(raw, str(self._path))

    def _try(self, raw: bytes, where: str) -> bool:
        node = self._signatory.node
        try:
            at_least = max(self._last_sequence(node), self.sequence)
            bundle = TrustBundle.open(raw, self.root, now=self._now(), at_least_sequence=at_least)
            if bundle.node != node:
                raise _refused(Refusal.WRONG_NODE, f"it is the bundle of {bundle.node}", "Give that of this node.")
            keys = public_keys(bundle)
            check_keys(bundle, self._signatory)
        except IdentityError as refused:
            self._refuse(f"{where}: {refused}")
            return False
        self.bundle, self.keys, self.note, self.problem = bundle, keys, raw, ""
        log.info("own trust bundle: sequence %d is in use", bundle.sequence)
        return True

    def _refuse(self, problem: str) -> None:
        if problem != self.problem:
            log.error("own trust bundle is not taken up, and nothing changes: %s", problem)
        self.problem = problem


def check_keys(bundle: TrustBundle, signatory: Signatory) -> None:
    """Rules 2 to 4. Raises TrustBundleError."""
    for kind in SIGNING:
        used = signatory.held(kind)
        if used.public not in listed(bundle, kind) and used.public not in retired(bundle, kind):
            raise _refused(
                Refusal.MISMATCHED_PAIR,
                f"the {kind} key {used.key_id} is in use, and the bundle does not name it",
                "Name it among the current keys, or among the retired ones to take it out of use at once.",
            )
        if wanted(bundle, signatory, kind) is None:
            raise _refused(
                Refusal.MISSING,
                f"none of the bundle's {kind} keys is in the keys directory",
                "Put the key there, or have the bundle issued with the keys that this gateway holds.",
            )
    first = bundle.sealing_keys[0]
    if signatory.ring.of_public(KeyKind.SEALING, first.mlkem768 + first.x25519) is None:
        raise _refused(
            Refusal.MISSING,
            "the first sealing key of the bundle is not in the keys directory, and partners would seal to it",
            "Put the key there before the bundle is announced.",
        )


def listed(bundle: TrustBundle, kind: KeyKind) -> tuple[bytes, ...]:
    """The public halves of the current keys of one kind, the newest first; of storage keys there are none."""
    match kind:
        case KeyKind.LOG:
            return bundle.log_keys
        case KeyKind.RECEIPT:
            return bundle.receipt_keys
        case KeyKind.PQ:
            return bundle.pq_keys
        case KeyKind.SEALING:
            return tuple(key.mlkem768 + key.x25519 for key in bundle.sealing_keys)
        case KeyKind.STORAGE:
            return ()


def retired(bundle: TrustBundle, kind: KeyKind) -> tuple[bytes, ...]:
    """The public halves of the retired keys of one kind."""
    return tuple(old.key for old in bundle.retired if old.kind == kind.value)


def wanted(bundle: TrustBundle, signatory: Signatory, kind: KeyKind) -> HeldKey | None:
    """The key of one kind that is to be in use: the first current one of the bundle that the keyring holds."""
    held = (signatory.ring.of_public(kind, public) for public in listed(bundle, kind))
    return next((key for key in held if key is not None), None)


def _refused(code: Refusal, what: str, mend: str) -> TrustBundleError:
    return TrustBundleError(code, what, where="own trust bundle", mend=mend)
