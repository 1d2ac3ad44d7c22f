"""`signalfire doctor`: what is wrong with an installation, and how to mend it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from gateway.cli.connecting import PARTLY, gateway_options_if_any
from gateway.client import Client, ClientError
from gateway.doctor.examine import Surroundings, examine
from gateway.doctor.finding import Finding, Level, problem

_COLOURS: Final = {Level.PROBLEM: "red", Level.WARNING: "yellow", Level.UNKNOWN: "cyan", Level.OK: "green"}


@click.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The gateway's configuration (docs/configuration.md).",
)
@gateway_options_if_any
@click.option("--no-dial", is_flag=True, help="Do not dial partners.")
@click.option("--all", "everything", is_flag=True, help="Also show what is in order.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything that was looked at.")
def doctor(connect: Callable[[], Client] | None, path: Path, no_dial: bool, everything: bool, as_json: bool) -> None:
    """Check a gateway's installation: before it starts, or beside it while it runs.

    Configuration, certificates, keys, trust bundles, policy, clock, disk, ports, and each partner in both directions.
    One line for each thing that is wrong (a problem) or may become so (a warning), with how to mend it. Nothing is
    changed. Run it as the gateway's user. With --credentials and --gateway it asks the running gateway which partners
    follow it; otherwise its metrics, if any.

    \b
    Exit code 0: no problem, though there may be warnings; 3: there is a problem; 1: it could not be run.
    Example: signalfire doctor --config jpn/gateway.yaml
    """
    try:
        path.read_bytes()
    except OSError as error:
        raise click.ClickException(
            f"{path}: the configuration cannot be read: {error.strerror}. Name a file."
        ) from error
    found = asyncio.run(_examine(path, connect, dial=not no_dial))
    wrong = [each for each in found if each.level is Level.PROBLEM]
    if as_json:
        click.echo(json.dumps({"well": not wrong, "findings": [_as_json(each) for each in found]}, indent=2))
    else:
        _show(found, everything=everything)
    if wrong:
        sys.exit(PARTLY)


async def _examine(path: Path, connect: Callable[[], Client] | None, *, dial: bool) -> list[Finding]:
    if connect is None:
        return await examine(path, Surroundings(), dial=dial)
    try:
        status = await connect().status()
    except (ClientError, ConnectionError) as error:
        why, mend = f"the gateway cannot be asked: {error}", "Start it, or correct --credentials and --gateway."
        return [*await examine(path, Surroundings(), dial=dial), problem("gateway", "--gateway", why, mend)]
    followed = {partner.node: partner.followed for partner in status.partners}
    return await examine(path, Surroundings(), dial=dial, followed=followed)


def _as_json(found: Finding) -> dict[str, str]:
    return {
        "level": found.level.value,
        "check": found.check,
        "where": found.where,
        "what": found.what,
        "remedy": found.remedy,
    }


def _show(found: Sequence[Finding], *, everything: bool) -> None:
    counted = {level: sum(each.level is level for each in found) for level in Level}
    for each in found:
        if everything or each.level is not Level.OK:
            click.secho(str(each), fg=_COLOURS[each.level])
    parts = [f"{count} {_WORDS[level]}" for level, count in counted.items() if count]
    click.echo(f"{len(found)} things looked at: {', '.join(parts)}")


_WORDS: Final = {
    Level.PROBLEM: "to mend",
    Level.WARNING: "to see to",
    Level.UNKNOWN: "not known",
    Level.OK: "in order",
}
