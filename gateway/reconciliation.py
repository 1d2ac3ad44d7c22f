"""Comparing the ledgers with a partner, live: what this node's store holds against what the partner's gateway says.

On demand everything is compared. By itself a gateway compares the witness ledgers of third nodes with each partner that
it hears, now and then: a node that shows its partners different ones can be found by them alone. What contradicts goes
on record as evidence against the third node, once for each ledger, and is an alarm that neither a later comparison nor
the ledger's next generation ends. What the side that was asked cannot show, or what does not add up, is put to that
side alone. What no key in use that is known here has signed blames nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import grpc
from signalfire.v1 import officer_pb2

from gateway.audit.reconcile import Comparison, NotComparable, Verdict, reconcile
from gateway.audit.signers import Signers
from gateway.exchange.dialling import LinkError
from gateway.exchange.ending import shown
from gateway.exchange.in_band import InBand
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.partners import Link, Partners
from gateway.exchange.reconciling import PartnerHoldings, inspecting
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import EvidenceError, contradiction
from gateway.ledger.holding import is_third_witness
from gateway.ledger.origin import WITNESS, Origin
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.evidence import KeepEvidence, KeepFinding, owner_keys
from gateway.release.holdings import MAX_THIRDS, Holdings
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


SILENT: Final = (LinkError, IdentityError, grpc.aio.AioRpcError, OSError)
"""What it looks like when a partner does not answer, or not as it should."""


LOOK_S: Final = 1.0
"""Seconds between looks at whether a partner is due."""

FIRST_S: Final = 30.0
"""Within so many seconds of the start a partner is compared with for the first time, at random: nodes that start
together do not ask together."""


class Reconciling:
    """Compares with partners of one gateway."""

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
        in_band: InBand | None = None,
    ) -> None:
        self._own = own
        self._signatory = signatory
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._key_pair = key_pair
        self._limits = limits
        self._in_band = in_band
        self._known: dict[str, set[Origin]] = {}
        """Third nodes' witness ledgers of which a partner has shown another history: no more can come of them."""

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
        except SILENT as error:
            detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
            raise NotComparable(
                f"{node} cannot be asked what it holds: {shown(detail or type(error).__name__)}"
            ) from error
        if any(compared.parts for compared in done):
            log.critical("ledgers with %s part: %s", node, shown(outcome(node, done)))
        await self._sequencer.do(RecordEvent("reconciled", outcome(node, done), evidence_of(done)))
        for compared in done:
            await self._take_note(node, compared)
        self._clear(node, done)

    async def compare_witnesses(self, node: str) -> None:
        """Compares the witness ledgers of third nodes with what `node` holds of them. What parts goes on record once.

        Raises what a partner that does not answer gives (`SILENT`), LedgerError and Unavailable.
        """
        done: list[Comparison] = []
        # Each is taken note of at once: a partner that stops answering hides nothing that was found before.
        async for compared in self._compare(node, between=False):
            done.append(compared)
            if await self._take_note(node, compared):
                log.critical("a witness ledger that %s holds too parts: %s", node, shown(outcome(node, [compared])))
        self._clear(node, done)

    async def _take_note(self, node: str, compared: Comparison) -> bool:
        """Puts on record who has contradicted himself, and what else a third node's witness ledger shows; of the latter
        raises the alarm. Returns whether any of that was not known.
        """
        origin, anew, proved = compared.origin, False, False
        owner = self._partners.get(origin.owner)
        if owner is not None and len(compared.evidence) == 2:
            one, other = compared.evidence
            keys = owner_keys(owner)
            with contextlib.suppress(EvidenceError):
                found = contradiction(one, other, keys)
                anew, proved = await self._sequencer.do(KeepEvidence(found, keys)), True
        if not compared.parts or not is_third_witness(origin, self._own.node, node):
            return anew
        said = outcome(node, [compared]), evidence_of([compared])
        if compared.verdict is Verdict.EQUIVOCATION:
            if not proved:
                anew = await self._sequencer.do(KeepFinding(str(origin), *said))
            named = f"{WITNESS} {origin.generation} as {node} holds it"
            self._partners.links[origin.owner].differs[named] = compared.finding
            if proved or self._sequencer.current(origin.owner, None, WITNESS) != origin:
                self._known.setdefault(node, set()).add(origin)
        else:
            anew = await self._sequencer.do(KeepFinding(f"{origin} {node}", *said))
            self._partners.links[node].differs[_told_of(origin)] = compared.finding
        return anew

    def _clear(self, node: str, done: Sequence[Comparison]) -> None:
        """Ends the alarms about what `node` told of third nodes that it does not any more, once all is compared."""
        differs = self._partners.links[node].differs
        told = {_told_of(compared.origin) for compared in done if compared.parts}
        for lane in [lane for lane in differs if lane.startswith(f"{WITNESS} of ") and lane not in told]:
            del differs[lane]

    async def _compare(self, node: str, *, between: bool = True) -> AsyncIterator[Comparison]:
        bundle, partner = self._partners.bundle(node), self._partners.get(node)
        if bundle is None or partner is None or not bundle.endpoints:
            raise LinkError(f"there is no valid trust bundle of {node} that names an endpoint")
        own = self._own.node
        thirds = [each for each in self._partners if each != node][:MAX_THIRDS]
        ours = Holdings(own, node, self._reader, self._sequencer.heads, self._sequencer.head, thirds)
        async with contextlib.AsyncExitStack() as stack:
            theirs = await self._open(stack, bundle, partner, thirds)
            # The stream may have brought a newer bundle.
            signers = {own: Signers.of_own(self._signatory), node: Signers.of(self._partners.get(node) or partner)}
            signers |= {third: Signers.of(keys) for third, keys in self._partners.keys().items() if third in thirds}
            async for compared in reconcile(
                own,
                node,
                ours,
                theirs,
                signers,
                signed_sizes=ours.signed_sizes,
                between=between,
                known=() if between else self._known.get(node, ()),
            ):
                yield compared

    async def _open(
        self, stack: contextlib.AsyncExitStack, bundle: TrustBundle, partner: Partner, thirds: Sequence[str]
    ) -> PartnerHoldings:
        """The first endpoint of the partner that answers."""
        *others, last = bundle.endpoints
        for endpoint in others:
            with contextlib.suppress(*SILENT):
                return await stack.enter_async_context(self._inspecting(bundle, endpoint, partner, thirds))
        return await stack.enter_async_context(self._inspecting(bundle, last, partner, thirds))

    def _inspecting(
        self, bundle: TrustBundle, endpoint: Endpoint, partner: Partner, thirds: Sequence[str]
    ) -> contextlib.AbstractAsyncContextManager[PartnerHoldings]:
        return inspecting(
            bundle,
            endpoint,
            partner,
            own=self._own,
            key_pair=self._key_pair,
            signer=self._signatory.gateway,
            patience_s=self._limits.handshake_s,
            in_band=self._in_band,
            thirds=thirds,
        )


async def keep_comparing(
    reconciling: Reconciling, links: Mapping[str, Link], interval_s: float, monotonic: Callable[[], float]
) -> None:
    """Compares third nodes' witness ledgers with each partner that is heard, until cancelled: soon after the start, and
    again after half of `interval_s` to all of it. A partner that cannot be asked is asked again at the next turn.

    Partners are asked side by side: one that is slow to answer, or never comes to an end, puts off none but itself.
    """
    async with asyncio.TaskGroup() as group:
        for node, link in links.items():
            group.create_task(_keep_comparing_with(node, link, reconciling, interval_s, monotonic))


async def _keep_comparing_with(
    node: str, link: Link, reconciling: Reconciling, interval_s: float, monotonic: Callable[[], float]
) -> None:
    due = monotonic() + random.uniform(0, min(interval_s, FIRST_S))
    while True:
        if monotonic() >= due and link.heartbeat_at is not None:
            try:
                await reconciling.compare_witnesses(node)
            except (*SILENT, LedgerError, ReleaseError) as error:
                log.warning("witness ledgers cannot be compared with %s: %s", node, shown(str(error)))
            due = monotonic() + interval_s * random.uniform(0.5, 1)
        await asyncio.sleep(min(LOOK_S, interval_s))


def _told_of(origin: Origin) -> str:
    """Names what a partner told of a third node's witness ledger, among that partner's lanes."""
    return f"{WITNESS} of {origin.owner}, generation {origin.generation}"


def outcome(node: str, done: Sequence[Comparison]) -> str:
    """What came of comparing with a partner, for the record."""
    parted = [compared for compared in done if compared.parts]
    barred = sum(bool(compared.finding) for compared in done) - len(parted)
    entries = sum(compared.agreed_size for compared in done)
    words = f"{len(done)} ledgers compared with {node}, {entries} entries identical"
    if barred:
        words += f"; {barred} cannot be compared"
    if not parted:
        return f"{words}; no ledger parts"
    named = "; ".join(f"{compared.origin}: {compared.finding}" for compared in parted[:MAX_NAMED])
    more = f"; and {len(parted) - MAX_NAMED} more" if len(parted) > MAX_NAMED else ""
    return f"{words}; {len(parted)} part: {named}{more}"


def evidence_of(done: Sequence[Comparison]) -> tuple[bytes, ...]:
    """The notes that go on record with the outcome."""
    notes = [note for compared in done for note in compared.evidence if len(note) <= MAX_NOTE]
    return tuple(notes[:MAX_NOTES])
