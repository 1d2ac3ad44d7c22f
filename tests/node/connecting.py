"""Connections to running gateways beside the client library: with any certificate, and with any bytes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from signalfire.v1 import c2_pb2, officer_pb2, report_pb2

from gateway.demo.deployment import PUSHER, Deployed
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options, roots_from_files
from tests.patience import PATIENCE_S


@contextlib.asynccontextmanager
async def channel(address: str, pair: KeyPairFiles, roots: Path, server_name: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection with any certificate to any listener."""
    options: list[tuple[str, Any]] = [
        *channel_options(server_name),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
        ("grpc.max_send_message_length", -1),
    ]
    opened = grpc.aio.secure_channel(address, channel_credentials(pair, roots_from_files(roots)), options)
    try:
        yield opened
    finally:
        await opened.close()


def server_name(place: Deployed) -> str:
    """The name in the certificate of that nation's gateway."""
    return dns_name(SpiffeId.of(place.node, Role.GATEWAY, "a"))


def system_pair(place: Deployed, system: str) -> KeyPairFiles:
    """Key and certificate of one of its C2 systems."""
    directory = place.directory / "c2" / system
    return KeyPairFiles(directory / "c2.key.pem", directory / "c2.crt.pem")


def gateway_authority(place: Deployed) -> Path:
    """The authority of its gateways."""
    return place.directory / "pki" / "ca" / "gateway.crt.pem"


def as_system(place: Deployed, system: str) -> contextlib.AbstractAsyncContextManager[grpc.aio.Channel]:
    """A connection to the national listener as one of the nation's own C2 systems."""
    return channel(place.national, system_pair(place, system), gateway_authority(place), server_name(place))


def as_officer(place: Deployed) -> contextlib.AbstractAsyncContextManager[grpc.aio.Channel]:
    """A connection to the national listener as the nation's officer."""
    directory = place.directory / "officer"
    pair = KeyPairFiles(directory / "officer.key.pem", directory / "officer.crt.pem")
    return channel(place.national, pair, gateway_authority(place), server_name(place))


async def submit_bytes(place: Deployed, *requests: bytes, system: str = PUSHER) -> list[c2_pb2.Answer]:
    """Sends requests as the bytes they are, in one stream; the answers in the order of the reports."""
    async with as_system(place, system) as opened, asyncio.timeout(PATIENCE_S):
        submit: grpc.aio.StreamStreamMultiCallable[bytes, c2_pb2.SubmitResponse] = opened.stream_stream(
            "/signalfire.v1.C2Service/Submit",
            request_serializer=None,
            response_deserializer=c2_pb2.SubmitResponse.FromString,
        )
        call = submit()
        for request in requests:
            await call.write(request)
        await call.done_writing()
        answers = [answer async for response in call for answer in response.answers]
    assert sorted(answer.position for answer in answers) == list(range(len(answers)))
    assert len(answers) >= len(requests)
    return sorted(answers, key=lambda answer: answer.position)


def request_of(*pushed: report_pb2.Report) -> bytes:
    """The serialised `SubmitRequest` of some reports."""
    return c2_pb2.SubmitRequest(reports=pushed).SerializeToString()


async def first_decision(opened: grpc.aio.Channel) -> officer_pb2.RecordedEntry:
    """The first record of the decisions ledger. Raises `grpc.aio.AioRpcError`."""
    watch = opened.unary_stream(
        "/signalfire.v1.OfficerService/WatchDecisions",
        request_serializer=officer_pb2.WatchDecisionsRequest.SerializeToString,
        response_deserializer=officer_pb2.WatchDecisionsResponse.FromString,
    )
    async with asyncio.timeout(PATIENCE_S):
        response = await watch(officer_pb2.WatchDecisionsRequest()).read()
    assert isinstance(response, officer_pb2.WatchDecisionsResponse)
    return response.entry
