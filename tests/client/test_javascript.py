"""Which requests the client in JavaScript sends: writers of others are told to do as it does."""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client.steered import Answers, Context, Home, Reports, Steered
from tests.foreign.conftest import HERE
from tests.patience import PATIENCE_S
from tests.reports.examples import report_id


async def answer_all(service: Steered, reports: Reports, context: Context) -> Answers:
    position = 0
    async for report in reports:
        yield service.take(position, report.report_id)
        position += 1


@asynccontextmanager
async def submitting(packages: Path, home: Home, address: str) -> AsyncIterator[Process]:
    """The client, which pushes what it reads."""
    command = ["node", str(HERE / "client.mjs"), "submit", address, home.server_name, str(home.client)]
    environment = os.environ | {"SIGNALFIRE_NODE_PACKAGES": str(packages)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def line(number: int, values: int = 0) -> bytes:
    """A report with some numbers of 8 bytes, which are shorter in JSON."""
    covariance = {"upper_triangle": [0] * values}
    return json.dumps({"report_id": report_id(number), "track": {"covariance": covariance}}).encode() + b"\n"


def answered(said: bytes) -> dict[int, Any]:
    """Identifiers of what was answered, by position."""
    answers = [json.loads(each) for each in said.splitlines()]
    return {int(answer["position"]): answer["report_id"] for answer in answers}


@pytest.mark.parametrize(("values", "most"), [(0, 256), (500, 16)])
async def test_what_there_is_goes_together_within_the_bounds_of_a_request(
    packages: Path, home: Home, values: int, most: int
) -> None:
    service = Steered([answer_all])
    async with (
        asyncio.timeout(PATIENCE_S),
        home.serving(service) as address,
        submitting(packages, home, address) as client,
    ):
        said, _ = await client.communicate(b"".join(line(number, values) for number in range(400)))
    assert answered(said) == {number: report_id(number) for number in range(400)}
    assert max(service.requests) == most


async def test_one_that_is_alone_goes_at_once(packages: Path, home: Home) -> None:
    service = Steered([answer_all])
    async with (
        asyncio.timeout(PATIENCE_S),
        home.serving(service) as address,
        submitting(packages, home, address) as client,
    ):
        assert client.stdin is not None
        assert client.stdout is not None
        for number in range(3):
            client.stdin.write(line(number))
            assert answered(await client.stdout.readline()) == {number: report_id(number)}
        client.stdin.close()
        assert await client.stdout.read() == b""
    assert service.requests == [1, 1, 1]
