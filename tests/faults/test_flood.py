"""Floods and silence: what one client or partner does costs the others nothing, and memory stays bounded.

Gateways are processes of their own, so that their memory is theirs. `--every-case` tries a partner that leaves one lane
unread besides one that leaves all.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import statistics
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from ruamel.yaml import YAML
from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.c2.quotas import LATEST_S
from gateway.client import Received
from gateway.demo.deployment import PUSHER, READER, Deployed, Gateway
from gateway.identity import issuing
from gateway.ledger.origin import Lane, Origin
from gateway.reports.kinds import Kind
from tests.exchange.dialler import dialled
from tests.faults.awake import awake
from tests.node.connecting import as_system
from tests.node.nations import report, settle
from tests.node.waiting import EVERY_CLASS
from tests.patience import PATIENCE_S

FLOODER: Final = "flooder"
STREAMS: Final = 8
QUOTA: Final = 300
ALERTS: Final = 40
MEDIAN_S, LONGEST_S = LATEST_S / 2, 2 * LATEST_S
"""How long an alert may take here, in seconds in which this process ran: by the median not nearly what one whose
reports are refused for the flood would wait. On a machine with nothing else to do it takes a hundredth of a second."""
GROWTH_MB: Final = 160
"""By how much a gateway may grow: its queues are full."""


@pytest_asyncio.fixture
async def places(tmp_path: Path) -> AsyncIterator[dict[str, Deployed]]:
    """JPN, KOR and USA, none of them running; JPN has one C2 system more, with the grant of the first."""
    settled = settle(
        tmp_path,
        "JPN",
        "KOR",
        "USA",
        limits={
            "quotas": {"reports_s": QUOTA, "reports_burst": QUOTA, "streams": STREAMS},
            "exchange": {"handshake_s": PATIENCE_S},
        },
    )
    place = settled["JPN"]
    issuing.issue_c2(place.directory / "pki", FLOODER, place.directory / "c2" / FLOODER, now=datetime.now(UTC))
    yaml = YAML(typ="safe", pure=True)
    config = yaml.load(place.config)
    config["clients"][FLOODER] = copy.deepcopy(config["clients"][PUSHER])
    with place.config.open("w") as file:
        yaml.dump(config, file)
    yield settled


@contextlib.asynccontextmanager
async def running(*places: Deployed) -> AsyncIterator[list[Gateway]]:
    gateways = [Gateway(place) for place in places]
    for gateway in gateways:
        gateway.start()
    try:
        for gateway in gateways:
            await gateway.ready(PATIENCE_S)
        yield gateways
    finally:
        for gateway in gateways:
            gateway.kill()


def peak_mb(gateway: Gateway) -> float:
    """Largest resident size of a gateway so far."""
    status = Path(f"/proc/{gateway.pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) / 1000


def point() -> report_pb2.Report:
    return report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE)


async def flood(place: Deployed, answers: Counter[str]) -> None:
    """Pushes tracks on one stream as fast as the gateway reads them, whatever it answers, until cancelled."""
    async with as_system(place, FLOODER) as channel:
        call = c2_pb2_grpc.C2ServiceStub(channel).Submit()

        async def count() -> None:
            async for answer in (answer async for response in call for answer in response.answers):
                answers[answer.WhichOneof("result") or ""] += 1
                if answer.HasField("refused"):
                    assert answer.refused.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, answer
                    assert answer.refused.retry_after_ms > 0

        counting = asyncio.create_task(count())
        track = point()
        try:
            while True:
                track.report_id = str(uuid.uuid4())
                await call.write(c2_pb2.SubmitRequest(reports=[track]))
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)


async def alert_times(place: Deployed, count: int) -> list[float]:
    """Pushes alerts on one stream, each when the one before is answered; seconds until the answer."""
    times = list[float]()
    answered = asyncio.Event()
    answered.set()
    with awake() as clock:

        async def alerts() -> AsyncIterator[report_pb2.Report]:
            for _ in range(count):
                await answered.wait()
                answered.clear()
                times.append(clock.seconds)
                yield report()

        async for result in place.client(PUSHER).submit(alerts()):
            assert result.accepted, result
            times[-1] = clock.seconds - times[-1]
            answered.set()
    return times


async def test_a_client_that_floods_delays_neither_another_s_alerts_nor_its_tracks_and_memory_stays_bounded(
    places: dict[str, Deployed],
) -> None:
    place = places["JPN"]
    async with asyncio.timeout(3 * PATIENCE_S), running(place) as (gateway,):
        await alert_times(place, 3)
        before = peak_mb(gateway)
        answers: Counter[str] = Counter()
        floods = [asyncio.create_task(flood(place, answers)) for _ in range(STREAMS)]
        # Before anything is measured, the flood has used up its quota and fills all its streams.
        while answers["refused"] < 10 * QUOTA:
            await asyncio.wait(floods, timeout=0.05)
            assert not any(task.done() for task in floods)
        tracks = [point() for _ in range(100)]
        times, results = await asyncio.gather(
            alert_times(place, ALERTS), asyncio.wait_for(pushed(place, tracks), PATIENCE_S)
        )
        assert not any(task.done() for task in floods)
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
        grown = peak_mb(gateway) - before
    assert results == {track.report_id for track in tracks}
    assert statistics.median(times) < MEDIAN_S, sorted(times)
    assert max(times) < LONGEST_S, sorted(times)
    # Whatever was refused was told so; whatever was taken was within the quota.
    assert answers["accepted"] >= QUOTA
    assert grown < GROWTH_MB


async def pushed(place: Deployed, reports: list[report_pb2.Report]) -> set[str]:
    """Pushes these; the identifiers of those that were taken."""
    return {result.report_id async for result in place.client(PUSHER).submit(reports) if result.accepted}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Which lanes a partner leaves unread."""
    if "lanes" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-case")
        metafunc.parametrize("lanes", [list(Lane), [Lane.ROUTINE]] if every else [list(Lane)])


async def test_a_partner_that_never_reads_costs_no_memory_and_delays_no_other_partner(
    places: dict[str, Deployed], lanes: list[Lane]
) -> None:
    jpn, kor, usa = (places[node] for node in ("JPN", "KOR", "USA"))
    count = 2500
    async with asyncio.timeout(4 * PATIENCE_S), running(jpn, usa) as (gateway, _), contextlib.AsyncExitStack() as stack:
        for lane in lanes:
            stream = await stack.enter_async_context(dialled(kor, jpn))
            await stream.open(Origin.release("JPN", "KOR", lane, 1))
        came, grown_by = set[str](), asyncio.Condition()

        async def receive() -> None:
            async for item in usa.client(READER).subscribe(EVERY_CLASS):
                if isinstance(item, Received):
                    async with grown_by:
                        came.add(item.report.report_id)
                        grown_by.notify_all()

        receiving = asyncio.create_task(receive())
        tracks = [point() for _ in range(count)]
        before = peak_mb(gateway)
        # Some of it goes beyond the quota: the library pushes that again.
        pushing = asyncio.create_task(pushed(jpn, tracks))
        took: list[float] = []
        for _ in range(20):
            alert = report()
            with awake() as clock:
                assert await pushed(jpn, [alert])
                async with grown_by:
                    await grown_by.wait_for(lambda alert=alert: alert.report_id in came)  # type: ignore[misc]
            took.append(clock.seconds)
        assert len(await pushing) == count
        async with grown_by:
            await grown_by.wait_for(lambda: came >= {track.report_id for track in tracks})
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        grown = peak_mb(gateway) - before
    assert statistics.median(took) < MEDIAN_S, sorted(took)
    assert grown < GROWTH_MB
