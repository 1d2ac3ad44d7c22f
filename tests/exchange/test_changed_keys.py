"""Keys that change under open streams, and faults that nobody foresaw: streams end or go on as they should."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from gateway.demo.deployment import GATEWAY_NAME, Deployed
from gateway.exchange.follower import PartnerFollower
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.partners import Partners, Pinned
from gateway.exchange.streams import LOST_REASON, keep
from gateway.identity import issuing, nation, next_bundle
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.note import Note, SignatureLine
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.opening import Opener
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry
from tests.exchange.dialler import PATIENT, dialled, signatory
from tests.exchange.origin import Forge
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

FLASH = Origin.release("JPN", "KOR", "flash", 1)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})


def renew(of: Deployed, at: Deployed) -> None:
    """Signs the next bundle of a nation and gives it to a partner."""
    next_bundle.write_bundle(of.directory / "pki", now=datetime.now(UTC), lifetime=timedelta(days=1))
    shutil.copy(of.directory / "pki" / "bundle.note", at.directory / "partners" / f"{of.node}.bundle.note")


def withdraw_keys(place: Deployed, into: Path, keys_from: Path | None = None) -> None:
    """New keys for a nation's gateway; its next bundle names these alone."""
    for record in (place.directory / "pki" / "gateways").iterdir():
        record.unlink()
    issuing.issue_gateway(
        place.directory / "pki", GATEWAY_NAME, into, now=datetime.now(UTC) + timedelta(seconds=2),
        address=place.exchange, keys_from=keys_from,
    )  # fmt: skip


async def test_a_stream_under_keys_that_were_withdrawn_ends_though_nothing_happens_in_its_ledger(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    async with running(places, "JPN", linked=False) as world:
        async with dialled(places["KOR"], places["JPN"]) as stream:
            await stream.open(FLASH)
            withdraw_keys(places["KOR"], tmp_path / "new")
            renew(places["KOR"], places["JPN"])
            end = await stream.ended()
            assert end.code.name == "UNAUTHENTICATED"
            assert "has changed" in end.details
        assert (await world.push_one("JPN", report())).accepted


async def test_a_recipient_with_another_receipt_key_goes_on_in_every_lane(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    jpn, kor = places["JPN"], places["KOR"]
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        await until(lambda: receipt_covers_all(world), "KOR has given its receipt")
        await world.stop("KOR")
        former = signatory(kor).receipt.verifier
        withdraw_keys(kor, tmp_path / "new")
        # The receipt key alone is another: the others may not change under a store.
        (kor.directory / "keys" / "receipt.key").unlink()
        shutil.copy(tmp_path / "new" / "receipt.key", kor.directory / "keys" / "receipt.key")
        for record in (kor.directory / "pki" / "gateways").iterdir():
            record.unlink()
        issuing.issue_gateway(
            kor.directory / "pki", GATEWAY_NAME, tmp_path / "again", now=datetime.now(UTC) + timedelta(seconds=2),
            address=kor.exchange, keys_from=kor.directory / "keys",
        )  # fmt: skip
        assert signatory(kor).receipt.verifier != former
        renew(kor, jpn)
        await until(lambda: receipt_key(world) == signatory(kor).receipt.verifier, "JPN knows the new key")
        refused = world.metric("JPN", "signalfire_refused_streams_total", reason="invalid_argument")
        await world.start("KOR")
        await world.linked()
        await world.carries("JPN", "KOR")
        await until(lambda: receipt_covers_all(world), "JPN has a receipt under the new key")
        assert world.metric("JPN", "signalfire_refused_streams_total", reason="invalid_argument") == refused


def receipt_key(world: World) -> object:
    partner = world.nodes["JPN"].parts.partners.get("KOR")
    return None if partner is None else partner.receipt[0]


def receipt_covers_all(world: World) -> bool:
    reader = SqliteReader(world.places["JPN"].store)
    try:
        row = reader.ledger(FLASH)
        held = None if row is None else reader.cosignature(row.id, CosignatureKind.RECEIPT, "KOR")
        return row is not None and held is not None and held.size == row.size
    finally:
        reader.close()


async def test_a_padded_claim_ends_the_ledger_with_the_evidence_alone(places: dict[str, Deployed]) -> None:
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        evidence = Forge(signatory(places["JPN"]), signatory(places["KOR"])).checkpoint(99, bytes(32))
        lines = tuple(SignatureLine(f"nobody/{place}", place, secrets.token_bytes(3000)) for place in range(15))
        padded = Note.parse(evidence).with_signatures(*lines).encode()
        assert len(padded) > 60_000
        async with dialled(places["KOR"], places["JPN"]) as stream:
            assert (await stream.open(FLASH, 99, bytes(32), padded)).WhichOneof("message") == "opened"
            assert (await stream.read()).ended.successor == str(FLASH.successor())
        assert list((await world.event("JPN", "ledger-succeeded")).evidence) == [evidence]
        await world.carries("JPN", "KOR")


def a_follower(world: World, jpn: Deployed, partners: Partners, telemetry: Telemetry) -> PartnerFollower:
    """One that follows KOR for JPN, and cannot read its TLS key: nothing that reads such a path foresees that."""
    node = world.nodes["JPN"]
    return PartnerFollower(
        "KOR",
        own=SpiffeId.of("JPN", Role.GATEWAY, GATEWAY_NAME),
        key_pair=KeyPairFiles(Path("a\0b"), Path("a\0b")),
        signatory=signatory(jpn),
        partners=partners,
        sequencer=node.parts.sequencer,
        reader=node.parts.store.read,
        opener=Opener("JPN", signatory(jpn).sealing),
        report_limits=ReportLimits(),
        limits=ExchangeLimits(backoff_min_s=0.001, backoff_max_s=0.001),
        telemetry=telemetry,
        in_band=node.parts.in_band,
        now_ns=time.time_ns,
        monotonic=time.monotonic,
    )


async def test_a_fault_that_nobody_foresaw_is_told_and_the_lane_is_dialled_again(places: dict[str, Deployed]) -> None:
    async with running(places, "JPN", linked=False) as world:
        kor = places["KOR"]
        partners = Partners.load(
            [Pinned("KOR", nation.read_root_vkey(kor.directory / "pki"), kor.directory / "pki" / "bundle.note")],
            lambda: datetime.now(UTC),
        )
        telemetry = Telemetry()
        follower = a_follower(world, places["JPN"], partners, telemetry)
        task = asyncio.create_task(follower.run())

        def failures(lane: str) -> float:
            labels = {"partner": "KOR", "lane": lane}
            return telemetry.registry.get_sample_value("signalfire_link_failures_total", labels) or 0.0

        try:
            await until(lambda: task.done() or all(failures(lane.value) > 2 for lane in Lane), "every lane goes on")
            assert not task.done()
            assert set(partners.links["KOR"].problems) == {*(lane.value for lane in Lane), "witness", "heartbeat"}
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_where_the_library_lost_the_reason_the_one_before_stands_and_is_told_once(
    places: dict[str, Deployed], caplog: pytest.LogCaptureFixture
) -> None:
    async with running(places, "JPN", linked=False) as world:
        kor = places["KOR"]
        partners = Partners.load(
            [Pinned("KOR", nation.read_root_vkey(kor.directory / "pki"), kor.directory / "pki" / "bundle.note")],
            lambda: datetime.now(UTC),
        )
        follower = a_follower(world, places["JPN"], partners, Telemetry())
        ended = asyncio.Event()
        dials = 0

        async def serve() -> None:
            nonlocal dials
            dials += 1
            if dials == 20:
                ended.set()
            code, words = (
                (grpc.StatusCode.INTERNAL, LOST_REASON) if dials % 2 else (grpc.StatusCode.UNAVAILABLE, "refused here")
            )
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), words)

        caplog.clear()
        task = asyncio.create_task(keep(follower.direct, "dialled", serve))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ended.wait()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        told = [each.getMessage() for each in caplog.records if each.getMessage().startswith("KOR dialled: ")]
        # The first dial has nothing better to say.
        assert told == [f"KOR dialled: INTERNAL: {LOST_REASON}", "KOR dialled: UNAVAILABLE: refused here"]
        assert partners.links["KOR"].problems["dialled"] == "UNAVAILABLE: refused here"
