"""Nations as their trust bundles show them, and ledgers that both sides signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.audit.proof_check import Nation
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.steps import KeepCosignature, SignPostQuantum
from tests.release.world import Site, partner_of
from tests.reports.examples import NOW

NOW_S: Final = NOW // 1_000_000_000
"""The time in the tests, POSIX seconds."""

EXPIRES: Final = NOW_S + 365 * 86_400

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
TO_USA: Final = Origin("JPN", "USA", "flash", 1)


def nation(node: str, expires: int = EXPIRES, **changes: Any) -> Nation:
    """What a nation's bundle says, with other keys where they are named."""
    return Nation(replace(partner_of(node), **changes), expires)


def receipt(owner: Site, recipient: Site, origin: Origin = TO_KOR) -> None:
    """The recipient receives what it has not yet, and its receipt comes back."""
    row = recipient.store.ledger(origin)
    received = recipient.do(recipient.receive(owner.incoming(origin, 0 if row is None else row.size)))
    owner.do(KeepCosignature(origin, CosignatureKind.RECEIPT, received.receipt, owner.partners[recipient.node]))


def confirmed(owner: Site, recipient: Site, origin: Origin = TO_KOR) -> None:
    """As `receipt`, and the owner's post-quantum line goes to the recipient."""
    receipt(owner, recipient, origin)
    owner.do(SignPostQuantum(origin))
    pq = owner.store.cosignature(owner.row(origin).id, CosignatureKind.PQ)
    assert pq is not None
    recipient.do(KeepCosignature(origin, CosignatureKind.PQ, pq.note, recipient.partners[owner.node]))
