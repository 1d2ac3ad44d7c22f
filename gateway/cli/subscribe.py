"""`signalfire subscribe`: receives reports as JSON Lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.cli.connecting import gateway_options
from gateway.client import CaughtUp, Client, ClientError, Received, Withdrawn
from gateway.reports.kinds import Kind

_PRECEDENCES = [name.removeprefix("PRECEDENCE_") for name, value in report_pb2.Precedence.items() if value]


@click.command()
@gateway_options
@click.option(
    "--class",
    "classes",
    multiple=True,
    required=True,
    type=click.Choice(["LIVE", "EXERCISE", "TEST"]),
    help="Traffic class wanted; give it more than once for several. There is no default.",
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in Kind]), help="Default: all.")
@click.option(
    "--from", "originators", multiple=True, metavar="NODE", help="Originating nation, such as KOR. Default: all."
)
@click.option("--at-least", "precedence", type=click.Choice(_PRECEDENCES), help="Lowest precedence. Default: all.")
@click.option("--own", is_flag=True, help="Also this nation's own reports, and what recalls them, whatever the filter.")
@click.option("--cursor", default="", help="Go on after this cursor, instead of from the beginning.")
@click.option(
    "--cursor-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the cursor in this file, and go on from it the next time.",
)
@click.option("--no-follow", is_flag=True, help="Stop when everything up to now has been received.")
def subscribe(
    connect: Callable[[], Client],
    classes: tuple[str, ...],
    kinds: tuple[str, ...],
    originators: tuple[str, ...],
    precedence: str | None,
    own: bool,
    cursor: str,
    cursor_file: Path | None,
    no_follow: bool,
) -> None:
    """Receive what partners released to your nation: one JSON object a line on standard output.

    A line holds a "report", or "withdrawn" with the identifier of a report that no longer stands. Every line has a
    "cursor", the place after it: resume from there with --cursor, or let --cursor-file keep it. Without either, all
    that was ever received comes first. A broken connection is mended, and goes on from the last line.

    \b
    Exit code 0: with --no-follow, everything up to now was printed; 1: the gateway refused the caller.
    Examples: signalfire subscribe --credentials jpn/c2/command --gateway 127.0.0.1:7101 --class LIVE
              signalfire subscribe ... --class EXERCISE --kind ImpactPrediction --from USA --no-follow
    """
    if cursor_file is not None and not cursor and cursor_file.exists():
        cursor = cursor_file.read_text("utf-8").strip()

    async def run() -> None:
        async for item in connect().subscribe(
            [report_pb2.TrafficClass.Value(f"TRAFFIC_CLASS_{name}") for name in classes],
            cursor=cursor,
            kinds=[Kind(kind).report_kind for kind in kinds],
            originator_nodes=originators,
            minimum_precedence=report_pb2.Precedence.Value(f"PRECEDENCE_{precedence or 'UNSPECIFIED'}"),
            include_own=own,
            follow=not no_follow,
        ):
            if not isinstance(item, CaughtUp):
                click.echo(json.dumps(as_json(item), ensure_ascii=False))
            if cursor_file is not None:
                _keep(cursor_file, item.cursor)

    try:
        asyncio.run(run())
    except ClientError as error:
        raise click.ClickException(str(error)) from error


def as_json(item: Received | Withdrawn) -> dict[str, Any]:
    """An item as it is printed."""
    if isinstance(item, Withdrawn):
        return {
            "cursor": item.cursor,
            "withdrawn": {
                "report_id": item.report_id,
                "originator_node": item.originator_node,
                "time": _as_text(item.time),
                "traffic_class": report_pb2.TrafficClass.Name(item.traffic_class),
                "precedence": report_pb2.Precedence.Name(item.precedence),
            },
            "received_time": _as_text(item.received_time),
        }
    return {
        "cursor": item.cursor,
        "report": json_format.MessageToDict(item.report, preserving_proto_field_name=True),
        "received_from": item.received_from,
        "ledger": item.ledger,
        "index": item.index,
        "received_time": _as_text(item.received_time),
        "pq_pending": item.pq_pending,
        "is_withdrawn": item.withdrawn,
    }


def _as_text(time: datetime) -> str:
    """As the times of a report are printed."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp.ToJsonString()


def _keep(path: Path, cursor: str) -> None:
    """Replaces the file whole, so that a crash leaves the old cursor or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(cursor + "\n", "utf-8")
    beside.replace(path)
