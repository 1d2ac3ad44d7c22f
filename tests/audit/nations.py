"""Nations as their trust bundles show them, and ledgers that both sides signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from gateway.identity.key_names import gateway_key_name
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.note import Ed25519Verifier
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow
from gateway.release.signatory import Partner, Retired
from gateway.release.steps import KeepCosignature, SignPostQuantum
from tests.release.world import Site, partner_of
from tests.reports.examples import NOW

NOW_S: Final = NOW // 1_000_000_000
"""The time in the tests, POSIX seconds."""

NEW_LOG: Final = LogKey(bytes(32))
"""The log key that takes over."""

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
TO_USA: Final = Origin("JPN", "USA", "flash", 1)


def nation(node: str, **changes: Any) -> Partner:
    """What a nation's bundle says, with other keys where they are named."""
    return replace(partner_of(node), **changes)


def rotated(node: str, until: int) -> dict[str, Any]:
    """What its bundle says of log keys once the one of the tests is retired and NEW_LOG has taken over."""
    return {
        "log": (NEW_LOG.public,),
        "gateway": (Ed25519Verifier(gateway_key_name(node), NEW_LOG.public.public_key),),
        "retired_log": (Retired(partner_of(node).log[0], until),),
    }


def anchored(site: Site, *recipients: Site, origin: Origin = TO_KOR) -> None:
    """The owner signs its head with NEW_LOG, and whoever holds the ledger is given it."""
    row = site.row(origin)
    note = sign_checkpoint(Checkpoint(origin, row.size, row.root), NEW_LOG).encode()
    for holder in (site, *recipients):
        plan = holder.plan()
        ledger = holder.row(origin).id
        plan.commit.cosignatures.append(
            CosignatureRow(ledger, CosignatureKind.ANCHOR, row.size, note, holder.now_ns, site.node)
        )
        holder.keep(plan)


def receipt(owner: Site, recipient: Site, origin: Origin = TO_KOR) -> None:
    """The recipient receives what it has not yet, and its receipt comes back."""
    row = recipient.store.ledger(origin)
    received = recipient.do(recipient.receive(owner.incoming(origin, 0 if row is None else row.size)))
    owner.do(KeepCosignature(origin, CosignatureKind.RECEIPT, received.receipt, owner.partners[recipient.node]))


def confirmed(owner: Site, recipient: Site, origin: Origin = TO_KOR) -> None:
    """As `receipt`, and the owner's post-quantum line goes to the recipient."""
    receipt(owner, recipient, origin)
    owner.do(SignPostQuantum(origin))
    pq = owner.store.cosignature(owner.row(origin).id, CosignatureKind.PQ, owner.node)
    assert pq is not None
    recipient.do(KeepCosignature(origin, CosignatureKind.PQ, pq.note, recipient.partners[owner.node]))
