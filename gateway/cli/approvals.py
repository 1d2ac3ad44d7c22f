"""The commands of `signalfire policy` that bring orders to a gateway, and show what is in force.

`COMMANDS` are all commands of approval; `gateway.cli.policy` has them in its group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from google.protobuf import json_format
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from signalfire.v1 import officer_pb2

from gateway.cli.connecting import gateway_options
from gateway.cli.protection import key_passphrase, passphrase_option
from gateway.cli.signing import (
    DIRECTORY,
    FILE,
    Place,
    new_order,
    partner_code,
    refusals,
    show_order_command,
    sign_command,
)
from gateway.cli.terminal import console
from gateway.client import Client
from gateway.identity.officer_keys import OfficerKey, read_officer_key
from gateway.release.governance import orders_in
from policy import digest_of, read_files
from policy.approve import Activate, Roster, SignedOrder, Suspend, decode, effect

_SUSPENSION_VALID: Final = timedelta(hours=1)
"""For which a suspension that is signed and brought in one step is good."""


@click.command("activate")
@click.argument("directory", type=DIRECTORY)
@click.argument("order", type=FILE)
@gateway_options
def activate_command(connect: Callable[[], Client], directory: Path, order: Path) -> None:
    """Put the policy in DIRECTORY in force by an ORDER that activates it.

    The gateway checks everything anew: the signatures by its own roster, the order's place and time, that the files are
    those that were signed, that they compile, and that every invariant is proved. It answers with every reason at once,
    or the policy is in force for the next decision. A policy that is refused changes nothing.

    \b
    Exit code 0: it is in force; 1: it was refused, or the gateway cannot be reached.
    Example: signalfire policy activate policies/jpn first.order --credentials jpn/officer --gateway 127.0.0.1:7101
    """
    with refusals():
        signed = _only(order)
        files = read_files(directory)
        match decode(signed.order).action:
            case Activate(digest) if digest != (found := digest_of(files)):
                raise click.ClickException(
                    f"{order}: is of the policy {digest.hex()}, and {directory} holds {found.hex()}. Bring the"
                    " directory as it was signed, or have this one signed"
                )
            case Activate():
                asyncio.run(_enact(connect(), signed, files))
            case _:
                raise click.ClickException(
                    f"{order}: this order activates no policy: use `signalfire policy enact {order}`"
                )


@click.command("enact")
@click.argument("order", type=FILE)
@gateway_options
def enact_command(connect: Callable[[], Client], order: Path) -> None:
    """Put an ORDER in force: any that activates no policy.

    \b
    Exit code 0: it is in force; 1: it was refused, or the gateway cannot be reached.
    Example: signalfire policy enact jpn-7.order --credentials jpn/officer --gateway 127.0.0.1:7101
    """
    with refusals():
        signed = _only(order)
        if isinstance(decode(signed.order).action, Activate):
            raise click.ClickException(
                f"{order}: this order activates a policy: use `signalfire policy activate DIR {order}`, with the"
                " policy's directory"
            )
        asyncio.run(_enact(connect(), signed, {}))


@click.command("suspend")
@click.argument("partner", callback=partner_code)
@click.option("--reason", required=True, help="Why, in your words.")
@click.option("--key", type=FILE, required=True, help="Your key, as `signalfire pki officer-key` made it.")
@passphrase_option("your key")
@gateway_options
def suspend_command(
    connect: Callable[[], Client], partner: str, reason: str, key: Path, passphrase_file: Path | None
) -> None:
    """Suspend PARTNER now: sign the order and bring it, in one step of one officer.

    From the next decision on nothing is released to the partner, and nothing that is not sent yet goes. Resuming takes
    as many officers as any loosening: `signalfire policy sign --resume`.

    \b
    Example:
      signalfire policy suspend KOR --reason "Leak" --key alice.key --credentials jpn/officer --gateway 127.0.0.1:7101
    """
    with refusals():
        own = read_officer_key(key, key_passphrase(key, passphrase_file))
        asyncio.run(_suspend(connect(), partner, reason, own))


@click.command("status")
@gateway_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; `sign --after` reads it.")
def policy_status_command(connect: Callable[[], Client], as_json: bool) -> None:
    """Show what officers have put in force: policy, posture, suspended partners, routes, roster, and what was refused.

    \b
    Exit code 0: a policy is in force; 1: none is, or the gateway cannot be reached.
    Example: signalfire policy status --credentials jpn/officer --gateway 127.0.0.1:7101
    """
    with refusals():
        found = asyncio.run(connect().policy_status())
    if as_json:
        click.echo(json_format.MessageToJson(found, preserving_proto_field_name=True))
    else:
        _show(found)
    if not found.policy_digest:
        raise click.ClickException(f"no policy is in force at {found.node}: everything is withheld")


COMMANDS: Final = (
    sign_command,
    show_order_command,
    activate_command,
    enact_command,
    suspend_command,
    policy_status_command,
)
"""To be added to the group `policy`."""


def _only(path: Path) -> SignedOrder:
    orders = orders_in(path)
    if len(orders) != 1:
        raise click.ClickException(f"{path}: holds {len(orders)} orders; bring them one by one")
    return orders[0]


async def _enact(client: Client, signed: SignedOrder, files: Mapping[str, bytes]) -> None:
    answer = await client.enact(signed.message(), files)
    order = decode(signed.order)
    for refusal in answer.refusals:
        click.echo(f"{refusal.reason}: {refusal.what} {refusal.remedy}".rstrip(), err=True)
    if answer.refusals:
        raise click.ClickException(f"the order was refused; what was in force stays (order {answer.sequence})")
    click.echo(f"Order {order.sequence} is in force: it {effect(order)}.")


async def _suspend(client: Client, partner: str, reason: str, own: OfficerKey) -> None:
    place = Place.after(await client.policy_status())
    await _enact(client, new_order(place, Suspend(partner, reason), own, _SUSPENSION_VALID), {})


def _show(found: officer_pb2.GetPolicyStatusResponse) -> None:
    out = console()
    digest = found.policy_digest.hex() or "none: everything is withheld"
    out.print(f"[bold]{found.node}[/bold], order {found.sequence} ({found.last_order_digest.hex()[:16]})")
    until = f" until {found.posture_until.ToJsonString()}" if found.HasField("posture_until") else ""
    out.print(f"policy {digest}, posture {found.posture or 'none'}{until}")
    for problem in found.problems:
        out.print(f"[bold]TO BE MENDED[/bold] {escape(problem)}")
    suspended = Table("suspended", "why", "by order")
    for each in found.suspended:
        suspended.add_row(each.partner, escape(each.reason), str(each.sequence))
    if found.suspended:
        out.print(suspended)
    _show_carrying(out, found)
    if found.HasField("roster"):
        levels = found.roster.thresholds
        officers = Table("officer", "key")
        for officer in Roster.of(found.node, found.roster).officers:
            officers.add_row(officer.name, officer.vkey(found.node))
        out.print(officers)
        out.print(
            f"signatures: {levels.loosen} to loosen, {levels.tighten} to tighten,"
            f" {levels.remove_invariant} to remove an invariant"
        )
    _show_refused(out, found)


def _show_carrying(out: Console, found: officer_pb2.GetPolicyStatusResponse) -> None:
    """By whom is carried, and for whom. A suspended partner is named and marked: it carries nothing meanwhile."""
    suspended = {each.partner for each in found.suspended}

    def marked(code: str) -> str:
        return f"{code} (suspended)" if code in suspended else code

    routes = Table("route to", "carried by")
    for route in found.routes:
        routes.add_row(marked(route.partner), ", ".join(map(marked, route.carriers)))
    if found.routes:
        out.print(routes)
    carries = Table("we carry between", "and")
    for pair in found.carries:
        carries.add_row(marked(pair.one), marked(pair.other))
    if found.carries:
        out.print(carries)


def _show_refused(out: Console, found: officer_pb2.GetPolicyStatusResponse) -> None:
    refused = Table("refused at", "brought by", "why")
    for order in found.refused:
        why = "\n".join(f"{refusal.reason}: {refusal.what}" for refusal in order.refusals)
        refused.add_row(order.time.ToJsonString(), escape(order.brought_by), escape(why))
    if found.refused:
        out.print(refused)
