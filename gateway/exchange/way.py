"""One way to a partner, directly or by a tunnel that another partner carries: what all streams by it share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

import grpc
from signalfire.v1 import exchange_pb2_grpc

from gateway.exchange import handshake, proving
from gateway.exchange.allowance import Intake
from gateway.exchange.dialling import LinkError
from gateway.exchange.in_band import InBand
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.partners import DIRECT, Heard, Link, Partners
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import Contradiction
from gateway.ledger.origin import WITNESS, Lane
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.evidence import Contradicted, KeepAllEvidence, owner_keys
from gateway.release.opening import Opener
from gateway.release.sequencer import Sequencer, Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.watch import Bell
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

_FORESEEN: Final = (grpc.aio.AioRpcError, IdentityError, LedgerError, LinkError, ReleaseError, OSError)
"""What ends a stream in words that need no stack trace."""

ALERTS_FIRST_S: Final = 0.25
"""Seconds that other lanes wait at the most for what the FLASH lane holds: it has the same way to go."""

Dial: TypeAlias = "Callable[[str], AbstractAsyncContextManager[exchange_pb2_grpc.ExchangeServiceAsyncStub]]"
"""A fresh connection to the partner for a lane, by its key. Raises LinkError or IdentityError where there is none."""


@dataclass(frozen=True, slots=True)
class Means:
    """What following partners works with, whoever they are and by whichever way."""

    own: SpiffeId
    key_pair: KeyPairFiles
    signatory: Signatory
    partners: Partners
    sequencer: Sequencer
    reader: Callable[[], StoreReader]
    opener: Opener
    report_limits: ReportLimits
    limits: ExchangeLimits
    telemetry: Telemetry
    in_band: InBand
    now_ns: Callable[[], int]
    monotonic: Callable[[], float]


@dataclass(slots=True)
class Forks:
    """Of one partner: the lanes whose streams, by every way, are opened anew when a fork was put on record."""

    _events: dict[str, asyncio.Event] = field(default_factory=dict)

    def of(self, lane: str) -> asyncio.Event:
        """Set when a fork of the lane's ledger is put on record from now on."""
        return self._events.setdefault(lane, asyncio.Event())

    def ring(self, lane: str) -> None:
        """A fork of the lane's ledger is on record."""
        if (event := self._events.pop(lane, None)) is not None:
            event.set()


class Way:
    """One way to one partner."""

    def __init__(
        self,
        node: str,
        means: Means,
        dial: Dial,
        *,
        name: str = DIRECT,
        allowance: Intake,
        forks: Forks,
    ) -> None:
        """`name` is DIRECT, or says by whom the way leads: "via USA"."""
        self.node = node
        self.name = name
        self.means = means
        self.dial = dial
        self.allowance = allowance
        self.alerts_open = asyncio.Event()
        """Set while the FLASH lane is followed by this way."""
        self.forks = forks
        self.silence = Bell()
        """Rings when heartbeats have lapsed."""

    @property
    def link(self) -> Link:
        """What is known of the links with the partner."""
        return self.means.partners.links[self.node]

    @property
    def heard(self) -> Heard:
        """What is heard of the partner by this way."""
        return self.link.ways.setdefault(self.name, Heard())

    def key(self, lane: str) -> str:
        """Under which name a lane of this way stands among those of the link."""
        return lane if self.name == DIRECT else f"{lane} {self.name}"

    def trouble(self, key: str, problem: str, error: Exception | None = None) -> None:
        """A stream cannot be opened, or has ended: why, in words."""
        if problem != self.link.problems.get(key):
            unforeseen = error is not None and not isinstance(error, _FORESEEN)
            log.warning("%s %s: %s", self.node, key, problem, exc_info=error if unforeseen else None)
        self.link.problems[key] = problem
        self.means.telemetry.link_failures.labels(partner=self.node, lane=key).inc()

    async def alerts_first(self, lane: str) -> None:
        """Lets the FLASH lane open before another one does, so that what it holds is here before their backlog."""
        if lane not in (Lane.FLASH, WITNESS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ALERTS_FIRST_S):
                    await self.alerts_open.wait()

    # --- the opening of every stream

    def partner(self) -> Partner:
        """The partner's keys as they are believed. Raises LinkError where there are none."""
        partner = self.means.partners.get(self.node)
        if partner is None:
            raise LinkError(f"there is no valid trust bundle of {self.node}")
        return partner

    def authorities(self) -> frozenset[str]:
        """The authorities that vouch for the partner's gateways."""
        bundle = self.means.partners.bundle(self.node)
        return frozenset(() if bundle is None else bundle.gateway_ca)

    def still_believed(self, proven: handshake.Proven, authorities: frozenset[str]) -> None:
        """Ends a stream whose server has proven itself under a key that is believed no more, or which was dialled when
        authorities were believed that are not any more. (A certificate that is revoked serves nobody here: whoever has
        it without the log key cannot prove himself.) Raises LinkError.
        """
        if not proven.believed_by(self.partner()) or not authorities <= self.authorities():
            raise LinkError(f"the trust bundle of {self.node} believes no more what this stream was opened under")

    async def prove(self, call: Any, request: Any, purpose: str, partner: Partner) -> handshake.Proven:
        """The challenge of one stream. Raises ChallengeError or LinkError."""
        means = self.means
        return await proving.prove(
            call,
            request,
            purpose,
            partner,
            own=means.own,
            signatory=means.signatory,
            in_band=means.in_band,
            now_ns=means.now_ns,
        )

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What must come within the time after which a partner is held to be silent."""
        try:
            async with asyncio.timeout(self.means.limits.silence_s):
                return await work
        except TimeoutError:
            raise LinkError(f"nothing came for {self.means.limits.silence_s:g} s") from None

    # --- what the partner signed

    async def heed(self, step: Step[T]) -> T:
        """Makes a step durable that holds what the partner signed. What contradicts itself goes on record first."""
        try:
            return await self.means.sequencer.do(step, source=self.node)
        except Contradicted as error:
            await self.keep_evidence(error.found)
            raise

    async def keep_evidence(self, *found: Contradiction) -> None:
        """Puts on record that the partner has contradicted itself."""
        partner = self.means.partners.get(self.node)
        keys = None if partner is None else owner_keys(partner)
        for kept in await self.means.sequencer.do(KeepAllEvidence(found, keys)):
            # Once for each ledger: a partner that contradicts itself again and again is not dialled each time.
            self.forks.ring(kept.origin.lane)
            log.critical("%s has contradicted itself: %s; both statements are on record", self.node, kept)
