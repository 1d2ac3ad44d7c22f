"""A stream does not outlive the authority behind its caller's certificate, and a client with a new one goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, c2_pb2_grpc, officer_pb2, officer_pb2_grpc

from gateway.client import CaughtUp, ClientError, Received
from gateway.demo.deployment import PUSHER, READER, Deployed
from gateway.identity import issuing, nation
from gateway.identity.authority import Authority, Validity
from gateway.identity.errors import PeerError
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role
from gateway.identity.standing import RECHECK_S, Standing
from tests.node.connecting import as_officer, as_system
from tests.node.nations import World, report, running, settle
from tests.node.waiting import EVERY_CLASS
from tests.patience import PATIENCE_S


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One nation."""
    async with running(settle(tmp_path / "nations", "JPN"), linked=False) as running_world:
        yield running_world


class Renewal:
    """New authorities of JPN's C2 systems and officers, which know no certificate of the old ones."""

    def __init__(self, place: Deployed, directory: Path) -> None:
        self._place = place
        self._directory = directory
        nation.create_nation(directory, "JPN", now=datetime.now(UTC))

    def replace(self, role: str) -> None:
        """The gateway believes the new authority alone."""
        keys = self._place.directory / "keys"
        shutil.copyfile(self._directory / "ca" / f"{role}.crt.pem", keys / f"{role}-ca.crt.pem")

    def issue(self, system: str) -> None:
        """Puts a certificate of the new authority in the place of a system's old one."""
        new = self._directory / system
        issuing.issue_c2(self._directory, system, new, now=datetime.now(UTC))
        for name in ("c2.key.pem", "c2.crt.pem"):
            (new / name).replace(self._place.directory / "c2" / system / name)


@pytest.fixture
def renewal(world: World, tmp_path: Path) -> Renewal:
    return Renewal(world.places["JPN"], tmp_path / "renewed")


def test_who_is_asked_about_often_is_judged_now_and_then_and_is_never_believed_again() -> None:
    now = datetime.now(UTC)
    authority = Authority.create("JPN", Role.C2, Validity.starting(now, timedelta(days=30)))
    believed = {("jpn", Role.C2): Issuers.of([authority.certificate])}
    other = Authority.create("JPN", Role.C2, Validity.starting(now, timedelta(days=30)))
    believe_other = {("jpn", Role.C2): Issuers.of([other.certificate])}
    context = {
        "security_level": [b"TSI_PRIVACY_AND_INTEGRITY"],
        "ssl_tls_version": [b"TLSv1.3"],
        "x509_pem_cert": [authority.issue_leaf("a", Validity.starting(now, timedelta(days=1))).certificate_pem],
    }
    clock, authorities = 0.0, believed
    standing = Standing(
        context, lambda: authorities, allowed_roles=(Role.C2,), now=lambda: now, monotonic=lambda: clock
    )
    clock += RECHECK_S
    standing.ask()
    authorities = believe_other
    clock += RECHECK_S / 2
    standing.ask()
    clock += RECHECK_S / 2
    with pytest.raises(PeerError, match="was not issued by a c2 authority"):
        standing.ask()
    authorities = believed
    with pytest.raises(PeerError, match="was not issued by a c2 authority"):
        standing.ask()


async def first(call: Any) -> Any:
    """The first message of a stream."""
    async with asyncio.timeout(PATIENCE_S):
        return await call.read()


async def ended(call: Any) -> grpc.aio.AioRpcError:
    """How a stream that nothing more is sent on comes to its end."""
    async with asyncio.timeout(PATIENCE_S):
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error
    raise AssertionError("it ended without an error")


async def test_open_streams_of_systems_whose_authority_is_gone_end_as_unauthenticated(
    world: World, renewal: Renewal
) -> None:
    place = world.places["JPN"]
    async with as_system(place, PUSHER) as pushing, as_system(place, READER) as reading:
        submit = c2_pb2_grpc.C2ServiceStub(pushing).Submit()
        await submit.write(c2_pb2.SubmitRequest(reports=[report()]))
        assert (await first(submit)).answers[0].HasField("accepted")
        subscription = c2_pb2_grpc.C2ServiceStub(reading).Subscribe(
            c2_pb2.SubscribeRequest(traffic_classes=EVERY_CLASS)
        )
        assert (await first(subscription)).items[-1].HasField("caught_up")
        renewal.replace("c2")
        for call in (submit, subscription):
            error = await ended(call)
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "was not issued by a c2 authority" in (error.details() or "")


async def test_the_stream_of_an_officer_whose_authority_is_gone_ends_as_unauthenticated(
    world: World, renewal: Renewal
) -> None:
    async with as_officer(world.places["JPN"]) as opened:
        watching = officer_pb2_grpc.OfficerServiceStub(opened).WatchDecisions(officer_pb2.WatchDecisionsRequest())
        assert (await first(watching)).entry.HasField("node_event")
        renewal.replace("officer")
        assert (await ended(watching)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_with_a_new_certificate_on_disk_goes_on_and_one_without_is_told(
    world: World, renewal: Renewal
) -> None:
    place = world.places["JPN"]
    subscription = place.client(READER).subscribe(EVERY_CLASS, include_own=True)
    telling = place.client("narrow").subscribe(EVERY_CLASS[:1])
    async with asyncio.timeout(PATIENCE_S):
        assert isinstance(await anext(subscription), CaughtUp)
        assert isinstance(await anext(telling), CaughtUp)
        for system in (READER, PUSHER):
            renewal.issue(system)
        renewal.replace("c2")
        with pytest.raises(ClientError, match="UNAUTHENTICATED"):
            await anext(telling)
        sent = report()
        assert (await world.push_one("JPN", sent)).accepted
        received = await anext(item async for item in subscription if isinstance(item, Received))
    assert received.report.report_id == sent.report_id
