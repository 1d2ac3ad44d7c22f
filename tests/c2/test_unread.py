"""What a client that reads no answers keeps alive, and what goes on without him. Steps and store are real."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.grants import PushGrant
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import Quota, QuotaLimits
from gateway.c2.submitting import Submitting
from gateway.c2.wishes import Wishes
from gateway.identity.errors import PeerError, Refusal
from gateway.identity.spiffe import Role, SpiffeId
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release import pipeline, taking
from gateway.release.pipeline import AcceptedReport
from gateway.release.plan import Plan
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from gateway.reports.kinds import Kind
from gateway.telemetry import Telemetry
from tests.patience import PATIENCE_S
from tests.release.world import LIMITS, RELEASE_ALL, partner_of, rules, signatory_of
from tests.reports.examples import NOW, all_clear, cancellation, track

SYSTEM = SpiffeId.of("JPN", Role.C2, "sensors")
ANYTHING = PushGrant(
    frozenset({"*"}),
    frozenset(Kind),
    frozenset(report_pb2.TrafficClass.values()),
    frozenset(report_pb2.Precedence.values()),
    max(report_pb2.Classification.values()),
)


class Gateway:
    """What judges reports, and the sequencer behind it."""

    def __init__(self, path: Path) -> None:
        policy = rules(KOR=RELEASE_ALL)
        self.commits = asyncio.Event()
        self.sequencer = Sequencer(
            lambda: SqliteStore(path),
            signatory_of("JPN"),
            lambda: {"KOR": partner_of("KOR")},
            now_ns=lambda: NOW,
            limits=SequencerLimits(),
            listener=self._listen,
            monotonic=lambda: 0.0,
            rulebook=lambda _: policy,
        )
        self._path = path

    def _listen(self, _: Durable) -> None:
        self.commits.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.sequencer.open()
        run = asyncio.create_task(self.sequencer.run())
        self.reader = SqliteReader(self._path)
        self.submitting = Submitting(
            node="JPN",
            sequencer=self.sequencer,
            reader=lambda: self.reader,
            telemetry=Telemetry(),
            limits=C2Limits(),
            report_limits=LIMITS,
            now_ns=lambda: NOW,
            monotonic=lambda: 0.0,
            clock_trusted=lambda: True,
            wishes=Wishes(lambda: self.reader, lambda: 0.0, lambda: True),
        )
        try:
            yield
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            self.reader.close()
            await self.sequencer.close()

    async def durable(self, report: report_pb2.Report) -> None:
        """Returns once a report is on record."""
        while self.reader.report(uuid.UUID(report.report_id).bytes) is None:
            await self.commits.wait()
            self.commits.clear()


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    gateway = Gateway(tmp_path / "jpn.sqlite")
    async with gateway.running():
        yield gateway


def request(*reports: report_pb2.Report) -> bytes:
    return c2_pb2.SubmitRequest(reports=reports).SerializeToString()


def plans() -> int:
    """Plans of commits that anybody still holds."""
    gc.collect()
    return sum(isinstance(each, Plan) for each in gc.get_objects())


async def test_answers_that_wait_for_a_reader_keep_nothing_of_the_commits_that_refused(gateway: Gateway) -> None:
    refused = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield request(track(1))
        await gateway.durable(track(1))
        for seed in range(2, 8):
            gateway.commits.clear()
            yield request(cancellation(seed))
            await gateway.commits.wait()
        refused.set()

    before = plans()
    answers = gateway.submitting.answers(SYSTEM, ANYTHING, Quota(QuotaLimits(), 0.0), requests(), lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        assert (await anext(answers)).answers[0].HasField("accepted")
        await refused.wait()
        # The sequencer may have hold of its last one.
        assert plans() <= before + 1
        codes = [answer.refused.code async for response in answers for answer in response.answers]
    assert codes == [c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR] * 6


class Request(bytes):
    """One that is counted while anybody holds it."""

    held = 0

    def __new__(cls, data: bytes) -> Request:
        cls.held += 1
        return super().__new__(cls, data)

    def __del__(self) -> None:
        type(self).held -= 1


async def test_a_stream_that_ends_as_its_client_is_believed_no_more_keeps_nothing_of_the_last_request(
    gateway: Gateway,
) -> None:
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            assert Request.held
            raise PeerError(Refusal.REVOKED, "it is revoked", where="test", mend="Get another one.")

    async def requests() -> AsyncIterator[bytes]:
        for seed in (1, 2):
            yield Request(request(track(seed)))

    async def ending() -> str:
        answers = gateway.submitting.answers(SYSTEM, ANYTHING, Quota(QuotaLimits(), 0.0), requests(), ask)
        try:
            _ = [response async for response in answers]
        except PeerError as error:
            return str(error)
        return ""

    gc.disable()
    try:
        async with asyncio.timeout(PATIENCE_S):
            assert "it is revoked" in await ending()
            # What the loop still had to call held it too.
            await asyncio.sleep(0)
        # At once, and not when cycles are looked for: that may be many streams later.
        assert Request.held == 0
    finally:
        gc.enable()


async def test_a_large_all_clear_is_gone_on_with_though_no_answer_is_read(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pipeline, taking):
        monkeypatch.setattr(module, "LOOKED_AT_A_STEP", 4)
    warnings = [track(seed, event_id="unread") for seed in range(1, 12)]
    clear = all_clear(99, event_id="unread")

    async def requests() -> AsyncIterator[bytes]:
        yield request(warnings[0])
        await gateway.durable(warnings[0])
        yield request(*warnings[1:])
        await gateway.durable(warnings[-1])
        yield request(clear)

    answers = gateway.submitting.answers(SYSTEM, ANYTHING, Quota(QuotaLimits(), 0.0), requests(), lambda: None)
    async with asyncio.timeout(PATIENCE_S):
        assert (await anext(answers)).answers[0].HasField("accepted")
        await gateway.durable(clear)
        rest = [answer.HasField("accepted") async for response in answers for answer in response.answers]
    assert rest == [True] * 11


async def test_an_answer_that_cannot_be_made_ends_its_stream_and_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def requests(seed: int) -> AsyncIterator[bytes]:
        yield request(track(seed))

    def answers(seed: int) -> AsyncIterator[c2_pb2.SubmitResponse]:
        return gateway.submitting.answers(SYSTEM, ANYTHING, Quota(QuotaLimits(), 0.0), requests(seed), lambda: None)

    def broken(_: AcceptedReport) -> c2_pb2.Accepted:
        raise ValueError("no words")

    async with asyncio.timeout(PATIENCE_S):
        with monkeypatch.context() as patched:
            patched.setattr(gateway.submitting, "accepted", broken)
            with pytest.raises(ValueError, match="no words"):
                await anext(answers(1))
        assert (await anext(answers(2))).answers[0].HasField("accepted")
