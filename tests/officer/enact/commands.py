"""The commands of officers, as they are given."""

from __future__ import annotations

import asyncio

from click.testing import CliRunner

from gateway.cli.approvals import COMMANDS
from gateway.demo.deployment import Deployed


def invoke(command: str, *arguments: str) -> tuple[int, str]:
    """Gives a command; its exit code, and what it says."""
    found = next(each for each in COMMANDS if each.name == command)
    result = CliRunner().invoke(found, arguments)
    return result.exit_code, result.output


def connecting(place: Deployed) -> list[str]:
    """The options by which a command reaches the gateway of a deployment."""
    return ["--credentials", str(place.directory / "officer"), "--gateway", place.national]


async def run(command: str, *arguments: str) -> tuple[int, str]:
    """The same while a gateway runs beside it."""
    return await asyncio.to_thread(invoke, command, *arguments)
