"""Comparing the ledgers with a partner, live: what this node's store holds against what the partner's gateway says."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import grpc
from signalfire.v1 import officer_pb2

from gateway.audit.reconcile import Comparison, NotComparable, Signers, reconcile
from gateway.exchange.dialling import LinkError
from gateway.exchange.partners import Partners
from gateway.exchange.reconciling import PartnerHoldings, inspecting
from gateway.exchange.server import ExchangeLimits, shown
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.ledger.stores import StoreReader
from gateway.release.holdings import Holdings
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import RecordEvent

log = logging.getLogger(__name__)

MAX_NOTES: Final = 16
"""Notes that are put on record with the outcome: a few of the ledgers that part are enough to show it, and an entry of
a ledger holds so much."""

MAX_NOTE: Final = 2048
"""Bytes of a note that is put on record: a checkpoint, its signature and a cosignature take under 600."""

MAX_NAMED: Final = 8
"""Ledgers that are named in the event."""


_SILENT: Final = (LinkError, IdentityError, grpc.aio.AioRpcError, OSError)
"""What it looks like when a partner does not answer, or not as it should."""


class Reconciling:
    """Compares with partners of one gateway, on demand."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        signatory: Signatory,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        key_pair: KeyPairFiles,
        limits: ExchangeLimits,
    ) -> None:
        self._own = own
        self._signatory = signatory
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._key_pair = key_pair
        self._limits = limits

    async def compare(self, node: str) -> AsyncIterator[officer_pb2.ReconcileResponse]:
        """How each ledger between this node and `node` compares; the outcome is then put on record.

        Raises NotComparable when the partner cannot be asked, LedgerError when the own store cannot be read, and
        Unavailable when the outcome cannot be put on record.
        """
        done: list[Comparison] = []
        try:
            async for compared in self._compare(node):
                done.append(compared)
                yield compared.told()
        except _SILENT as error:
            detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            raise NotComparable(
                f"{node} cannot be asked what it holds: {shown(detail or type(error).__name__)}"
            ) from error
        if any(compared.finding for compared in done):
            log.critical("ledgers with %s part: %s", node, shown(outcome(node, done)))
        await self._sequencer.do(RecordEvent("reconciled", outcome(node, done), evidence_of(done)))

    async def _compare(self, node: str) -> AsyncIterator[Comparison]:
        bundle, partner = self._partners.bundle(node), self._partners.get(node)
        if bundle is None or partner is None or not bundle.endpoints:
            raise LinkError(f"there is no valid trust bundle of {node} that names an endpoint")
        own = self._own.node
        ours = Holdings(own, node, self._reader, self._sequencer.heads, self._sequencer.head)
        signers = {own: Signers.of_own(self._signatory), node: Signers.of(partner)}
        async with contextlib.AsyncExitStack() as stack:
            theirs = await self._open(stack, bundle, partner)
            async for compared in reconcile(own, node, ours, theirs, signers):
                yield compared

    async def _open(self, stack: contextlib.AsyncExitStack, bundle: TrustBundle, partner: Partner) -> PartnerHoldings:
        """The first endpoint of the partner that answers."""
        *others, last = bundle.endpoints
        for endpoint in others:
            with contextlib.suppress(*_SILENT):
                return await stack.enter_async_context(self._inspecting(bundle, endpoint, partner))
        return await stack.enter_async_context(self._inspecting(bundle, last, partner))

    def _inspecting(
        self, bundle: TrustBundle, endpoint: Endpoint, partner: Partner
    ) -> contextlib.AbstractAsyncContextManager[PartnerHoldings]:
        return inspecting(
            bundle,
            endpoint,
            partner,
            own=self._own,
            key_pair=self._key_pair,
            signer=self._signatory.gateway,
            patience_s=self._limits.handshake_s,
        )


def outcome(node: str, done: Sequence[Comparison]) -> str:
    """What came of comparing with a partner, for the record."""
    parted = [compared for compared in done if compared.finding]
    entries = sum(compared.agreed_size for compared in done)
    words = f"{len(done)} ledgers compared with {node}, {entries} entries identical"
    if not parted:
        return f"{words}; no ledger parts"
    named = "; ".join(f"{compared.origin}: {compared.finding}" for compared in parted[:MAX_NAMED])
    more = f"; and {len(parted) - MAX_NAMED} more" if len(parted) > MAX_NAMED else ""
    return f"{words}; {len(parted)} part: {named}{more}"


def evidence_of(done: Sequence[Comparison]) -> tuple[bytes, ...]:
    """The notes that go on record with the outcome."""
    notes = [note for compared in done for note in compared.evidence if len(note) <= MAX_NOTE]
    return tuple(notes[:MAX_NOTES])
