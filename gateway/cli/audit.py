"""`signalfire audit`: what the gateway decided, and why, for security officers."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

import click
from google.protobuf import json_format
from signalfire.v1 import officer_pb2

from gateway.cli.audit_filters import filter_options
from gateway.cli.audit_forms import Form, head, lines, table
from gateway.cli.audit_prose import explanation
from gateway.cli.connecting import gateway_options, unreached
from gateway.cli.terminal import console
from gateway.client import Client, ClientError

T = TypeVar("T")

MOST: Final = 100_000
"""Records that a search shows at most; of more, `export` is the command."""

_ENTRY_PATIENCE_S: Final = 10.0
"""Seconds within which an entry of the ledger that is there has come."""

_OPENING: Final = "it opens an epoch, or names the ledger's predecessor, and records nothing"


def _form_option(default: Form, *forms: Form) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--format",
        "form",
        type=click.Choice([form.value for form in forms or tuple(Form)]),
        default=default.value,
        show_default=True,
        help="How records are written.",
    )


@click.group()
def audit() -> None:
    """Search, explain, watch and export what your gateway decided. For officers; every look is itself recorded.

    \b
    What was withheld from Korea today?     signalfire audit search --partner KOR --outcome withheld --since 24h ...
    Why was this not given to Korea?        signalfire audit explain 0b7c1a2e-... --partner KOR ...
    What is being decided just now?         signalfire audit watch ...
    Everything, for a SIEM:                 signalfire audit export --format ocsf ...
    Who looked at the record?               signalfire audit search --event-kind audit-access ...
    """


@audit.command()
@gateway_options
@filter_options
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, MOST), help="Most records that are shown."
)
@click.option("--oldest-first", is_flag=True, help="Begin with the oldest; otherwise with the newest.")
@_form_option(Form.TABLE)
def search(
    connect: Callable[[], Client],
    wanted: officer_pb2.DecisionFilter | None,
    limit: int,
    oldest_first: bool,
    form: str,
) -> None:
    """Show the decisions that all the given options want; of one that is repeated any suffices.

    \b
    Exit code 0: what there is was shown, also where that is nothing; 1: the gateway refused, and says why.
    Example: signalfire audit search --credentials jpn/officer --gateway 127.0.0.1:7101 --partner KOR --since 2h
    """

    async def found() -> list[officer_pb2.RecordedEntry]:
        records: list[officer_pb2.RecordedEntry] = []
        searched = connect().search_decisions(wanted, page_size=min(limit, 1000), oldest_first=oldest_first)
        async with contextlib.aclosing(searched):  # type: ignore[type-var]
            async for entry in searched:
                records.append(entry)
                if len(records) == limit:
                    # One more would be another page, and another look on record.
                    break
        return records

    records = _run(found())
    _show(records, Form(form))
    if not records:
        click.echo("Nothing on record is wanted by all of these options.", err=True)
    if len(records) == limit:
        click.echo(f"There may be more than {limit}: narrow the search, raise --limit, or use export.", err=True)


@audit.command()
@gateway_options
@click.argument("which", metavar="REPORT|INDEX")
@click.option("--originator", "originator_node", default="", metavar="NODE", help="Node that originated the report.")
@click.option("--generation", default=1, show_default=True, help="Generation of the decisions ledger, for an index.")
@_form_option(Form.TABLE)
def show(connect: Callable[[], Client], which: str, originator_node: str, generation: int, form: str) -> None:
    """Show what is on record about one report (a UUID), or one entry of the decisions ledger (its index).

    \b
    Exit code 0: it was shown; 1: there is no such record, or the gateway refused.
    Example: signalfire audit show --credentials jpn/officer --gateway 127.0.0.1:7101 20cb97b1-...
    """

    async def of_report() -> list[officer_pb2.RecordedEntry]:
        wanted = officer_pb2.DecisionFilter(report_id=which, originator_node=originator_node)
        return [entry async for entry in connect().search_decisions(wanted, oldest_first=True)]

    async def of_index() -> list[officer_pb2.RecordedEntry]:
        watched = connect().watch_decisions(int(which), generation=generation)
        try:
            async with asyncio.timeout(_ENTRY_PATIENCE_S), contextlib.aclosing(watched):  # type: ignore[type-var]
                first = await anext(watched)
        except TimeoutError:
            raise click.ClickException(f"there is no entry {which} in generation {generation} yet") from None
        if first.index != int(which):
            raise click.ClickException(f"entry {which} shows nothing: {_OPENING}")
        return [first]

    records = _run(of_index() if re.fullmatch(r"[0-9]{1,18}", which) else of_report())
    if not records:
        raise click.ClickException(f"nothing is on record about report {which}; check the identifier")
    _show(records, Form(form))


@audit.command()
@gateway_options
@click.argument("report", metavar="REPORT")
@click.option("--partner", default="", metavar="NODE", help="For this partner alone, such as KOR. Default: for all.")
@click.option("--originator", "originator_node", default="", metavar="NODE", help="Who originated it. Default: you.")
@click.option("--json", "as_json", is_flag=True, help="Print the ExplainDecisionResponse as one JSON object.")
def explain(connect: Callable[[], Client], report: str, partner: str, originator_node: str, as_json: bool) -> None:
    """Say why one report (a UUID) was, or was not, given to a partner: which rule decided, with its text; who had put
    that policy in force; what went, what was changed on the way, and what the partner confirmed.

    \b
    Exit code 0: it is explained, whatever was decided; 1: it is not on record, or the gateway refused.
    Example: signalfire audit explain --credentials jpn/officer --gateway 127.0.0.1:7101 --partner KOR 20cb97b1-...
    """
    found = _run(connect().explain(report, originator_node=originator_node, partner=partner))
    if as_json:
        click.echo(json_format.MessageToJson(found, preserving_proto_field_name=True, ensure_ascii=True, indent=None))
        return
    for line in explanation(found):
        click.echo(line)


@audit.command()
@gateway_options
@filter_options
@click.option("--from-index", type=click.IntRange(0), help="Begin with this entry of the ledger, not with what comes.")
@click.option("--generation", default=1, show_default=True, help="Generation of the ledger, for --from-index.")
@_form_option(Form.TABLE)
def watch(
    connect: Callable[[], Client],
    wanted: officer_pb2.DecisionFilter | None,
    from_index: int | None,
    generation: int,
    form: str,
) -> None:
    """Show decisions and events as they are recorded, without end: one line each. A broken connection is mended.

    \b
    Exit code 1: the gateway refused the caller, the options or the place.
    Example: signalfire audit watch --credentials jpn/officer --gateway 127.0.0.1:7101 --outcome withheld
    """
    live = from_index is None
    place = {} if from_index is None else {"from_index": from_index, "generation": generation}
    _run(_print(connect().watch_decisions(**place, wanted=wanted, live_only=live), Form(form)))


@audit.command()
@gateway_options
@filter_options
@_form_option(Form.JSONL, Form.JSONL, Form.CSV, Form.SYSLOG, Form.OCSF)
def export(connect: Callable[[], Client], wanted: officer_pb2.DecisionFilter | None, form: str) -> None:
    """Write everything on record up to now that the options want, the oldest first, to standard output.

    \b
    Exit code 0: that was all; 1: the gateway refused, or the connection was lost and what was written is not all.
    Example: signalfire audit export --credentials jpn/officer --gateway 127.0.0.1:7101 --since 24h --format csv
    """
    _run(_print(connect().export_decisions(wanted), Form(form)))


async def _print(records: AsyncIterator[officer_pb2.RecordedEntry], form: Form) -> None:
    for line in head(form):
        click.echo(line)
    async for entry in records:
        for line in lines([entry], form):
            click.echo(line)


def _show(records: Iterable[officer_pb2.RecordedEntry], form: Form) -> None:
    if form is Form.TABLE:
        for shown in table(records):
            console().print(shown)
        return
    for line in (*head(form), *lines(records, form)):
        click.echo(line)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    except ConnectionError as error:
        raise click.ClickException(unreached(error)) from error
