"""`signalfire status`: the state of a gateway and of its links."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import click
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from rich.table import Table
from signalfire.v1 import c2_pb2

from gateway.cli.connecting import PARTLY, gateway_options, unreached
from gateway.cli.submit import asked_for
from gateway.cli.terminal import console
from gateway.client import Client, ClientError
from gateway.ledger.origin import DECISIONS, Origin


@click.command()
@gateway_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(connect: Callable[[], Client], as_json: bool) -> None:
    """Show the state of your gateway: whether it takes reports, its links with partners, its ledgers.

    "We follow it" and "it follows us" are the two directions of a link; a partner is silent whose heartbeats do not
    come, and hears nothing that answers none of ours. Of our own ledgers, "receipt to" says how many
    entries the partner has confirmed to have stored, and "post-quantum to" how many bear the second signature, which
    follows within a second. Alarms stand above all else: a receipt that is overdue, a partner that is silent, or a
    ledger of which two ends do not have the same.

    \b
    Exit code 0: it accepts reports, every link is up and no alarm stands; 3: something is down, or an alarm stands;
    1: it cannot be reached.
    Example: signalfire status --credentials jpn/c2/command --gateway 127.0.0.1:7101
    """

    try:
        found = asyncio.run(connect().status())
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    except ConnectionError as error:
        raise click.ClickException(unreached(error)) from error
    if as_json:
        click.echo(
            json_format.MessageToJson(
                found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        )
    else:
        _show(found)
    down = any(not (partner.following and partner.followed) for partner in found.partners)
    if not found.accepting or down or found.alarms:
        sys.exit(PARTLY)


def _show(found: c2_pb2.GetStatusResponse) -> None:
    out = console()
    accepting = "accepting reports" if found.accepting else f"NOT accepting reports: {found.reason}"
    out.print(f"[bold]{found.node}[/bold], Signalfire {found.version}, {accepting}")
    out.print(
        f"up since {found.start_time.ToJsonString()}, {found.reports_accepted} reports accepted,"
        f" posture {found.posture}, policy {found.policy_digest[:16]}"
    )
    for alarm in found.alarms:
        out.print(f"ALARM: {alarm}", style="bold red", markup=False)
    if found.HasField("resubmit"):
        out.print(f"C2 systems are asked to submit again {asked_for(found.resubmit)}", style="bold", markup=False)
    partners = Table("partner", "we follow it", "it follows us", "last heartbeat", "its clock less ours", "problem")
    for partner in found.partners:
        partners.add_row(
            partner.node,
            ("yes" if partner.following else "NO")
            + ("" if list(partner.ways) in ([], ["direct"]) else f", {' and '.join(partner.ways)}")
            + (f", silent since {_short(partner.silent_since)}" if partner.HasField("silent_since") else ""),
            ("yes" if partner.followed else "NO")
            + (f", hears nothing since {_short(partner.unheard_since)}" if partner.HasField("unheard_since") else ""),
            partner.last_heartbeat_time.ToJsonString() if partner.HasField("last_heartbeat_time") else "never",
            f"{partner.clock_offset_ms:+.1f} ms" if partner.HasField("clock_offset_ms") else "not known",
            "; ".join(filter(None, (partner.problem, partner.not_accepting))),
        )
    out.print(partners)
    for carried in found.carried:
        out.print(f"carries between {carried.one} and {carried.other}: {carried.tunnels} tunnels", markup=False)
    ledgers = Table("ledger", "entries", "receipt to", "post-quantum to", "root")
    for ledger in found.ledgers:
        ledgers.add_row(
            ledger.origin + (" (replica)" if ledger.replica else ""),
            str(ledger.size),
            "" if Origin.parse(ledger.origin).lane == DECISIONS else str(ledger.receipt_size),
            str(ledger.pq_size),
            ledger.root.hex()[:16],
        )
    out.print(ledgers)


def _short(time: Timestamp) -> str:
    return f"{time.ToDatetime().isoformat(timespec='seconds')}Z"
