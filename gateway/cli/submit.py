"""`signalfire submit`: pushes reports from JSON Lines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import IO

import click
from google.protobuf import json_format
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from signalfire.v1 import c2_pb2, report_pb2

from gateway.cli.connecting import PARTLY, gateway_options
from gateway.cli.lines import LineError, lines
from gateway.client import Client, ClientError


@click.command()
@gateway_options
@click.option(
    "--in-flight",
    default=1024,
    show_default=True,
    type=click.IntRange(min=1),
    help="Reports that may wait for their answer.",
)
@click.argument("file", type=click.File("rb"), default="-")
def submit(connect: Callable[[], Client], in_flight: int, file: IO[bytes]) -> None:
    """Push reports into your gateway: one JSON object a line, from FILE or standard input.

    Each object is a Report of proto/signalfire/v1/report.proto in protobuf's JSON form; `subscribe` prints reports in
    the same form. Each is answered when it is durable; refused ones are printed on standard error with every reason.
    From a pipe, each report goes as soon as its line is there. A broken connection is mended, for as long as it takes,
    and nothing is doubled. Where the gateway says meanwhile that it has lost reports, all of FILE goes again, and what
    it still has is answered as accepted before.

    \b
    Exit code 0: all accepted; 3: some refused; 1: the gateway refused the caller, or a line is no report.
    Example: signalfire submit --credentials jpn/c2/sensor-net --gateway 127.0.0.1:7101 reports.jsonl
    """
    try:
        accepted, before, refused = asyncio.run(_submit(connect(), file, in_flight))
    except (ClientError, LineError) as error:
        raise click.ClickException(str(error)) from error
    repeated = f" ({before} of them before)" if before else ""
    click.echo(f"{accepted} accepted{repeated}, {refused} refused", err=True)
    if refused:
        sys.exit(PARTLY)


def asked_for(wish: c2_pb2.Resubmit) -> str:
    """What is asked for, in words."""
    since = f"after {wish.since.ToJsonString()}" if wish.HasField("since") else "ever"
    return f"all that was accepted {since} and until {wish.until.ToJsonString()}: {wish.reason}"


async def _submit(client: Client, file: IO[bytes], in_flight: int) -> tuple[int, int, int]:
    accepted = before = refused = 0
    known: set[int] = set()
    reading = _Reading(file)

    def wished(wish: c2_pb2.Resubmit) -> None:
        """What is asked for before anything was answered goes anyhow; and each is told again on each connection."""
        anew = wish.until.ToNanoseconds() not in known
        known.add(wish.until.ToNanoseconds())
        if anew and accepted + refused:
            reading.again()
            click.echo(f"the gateway asks for {asked_for(wish)}", err=True)

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("answered", total=None)
        async for result in client.submit(reading.reports(), in_flight=in_flight, on_resubmit=wished):
            reading.answered()
            progress.advance(task)
            if result.accepted:
                accepted += 1
                before += result.duplicate
                continue
            refused += 1
            code = c2_pb2.RefusalCode.Name(result.code).removeprefix("REFUSAL_CODE_")
            click.echo(f"{result.report_id or '(no identifier)'}: refused, {code}", err=True)
            if result.superseded_by:
                click.echo(f"  not sent again: {result.superseded_by} recalls it, and was accepted", err=True)
            for violation in result.violations:
                click.echo(f"  {violation.field}: {violation.problem}; {violation.remedy}", err=True)
    return accepted, before, refused


class _Reading:
    """Reads a file of reports, and again from its beginning as often as what was answered is asked for again.

    In one run: a recall may wait for a report that was answered before it, and is lost.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._passes = 1
        self._open = 0
        """Reports that were given and are not answered yet."""
        self._changed = asyncio.Event()

    def again(self) -> None:
        """All of it is asked for again."""
        self._passes += 1
        self._changed.set()

    def answered(self) -> None:
        """A report was answered."""
        self._open -= 1
        self._changed.set()

    async def reports(self) -> AsyncIterator[report_pb2.Report]:
        """The reports of the file; ends when all are answered, and none is asked for again."""
        while True:
            # What is asked for up to here goes with this pass.
            done = self._passes
            async for report in _reports(self._file):
                self._open += 1
                yield report
            while self._open and done == self._passes:
                self._changed.clear()
                await self._changed.wait()
            if done == self._passes:
                return
            if not self._file.seekable():
                raise click.ClickException("the gateway asks for what was pushed before: push it again, from a file")
            self._file.seek(0)


async def _reports(file: IO[bytes]) -> AsyncIterator[report_pb2.Report]:
    async for number, line in lines(file):
        if not line.strip():
            continue
        try:
            # The library would take an empty list for an empty message.
            if not line.lstrip().startswith(b"{"):
                raise json_format.ParseError("a JSON object begins with {")
            yield json_format.Parse(line, report_pb2.Report())
        except (json_format.ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise click.ClickException(
                f"line {number} is not a Report in protobuf's JSON form: {error}. The lines before it were answered; "
                "mend it and run again: what was accepted is not repeated."
            ) from error
