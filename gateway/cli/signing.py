"""`signalfire policy sign` and `show-order`: writing orders, signing them, and reading what they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from google.protobuf import json_format
from signalfire.v1 import officer_pb2

from gateway.cli.connecting import gateway_options_if_any
from gateway.client import Client, ClientError
from gateway.identity.errors import IdentityError
from gateway.identity.officer_keys import OfficerKey, read_officer_key
from gateway.release.governance import orders_in, read_roster
from policy import Posture, compile_bundle, read_files
from policy.approve import (
    Activate,
    DeclarePosture,
    Order,
    OrderRefused,
    ReplaceRoster,
    Resume,
    Roster,
    SignedOrder,
    Suspend,
    decode,
    describe,
    encode,
    missing,
    sign,
    write_orders,
)
from policy.approve.order import Action
from policy.errors import PolicyError

DIRECTORY: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next order goes: after which one, and whose signatures count there."""

    node: str
    sequence: int
    previous: bytes
    roster: Roster

    @classmethod
    def after(cls, status: officer_pb2.GetPolicyStatusResponse) -> Place:
        """The place after what a gateway's status says."""
        if not status.HasField("roster"):
            problems = "; ".join(status.problems) or "no roster was ever pinned"
            raise click.ClickException(f"{status.node} takes no orders: {problems}")
        roster = Roster.of(status.node, status.roster)
        return cls(status.node, status.sequence + 1, status.last_order_digest, roster)


@click.command("sign")
@click.argument("directory", type=DIRECTORY, required=False)
@click.option("--suspend", "suspended", metavar="CODE", help="Suspend this partner: nothing is released to it.")
@click.option("--reason", help="Why, in your words. With --suspend.")
@click.option("--resume", "resumed", metavar="CODE", help="End the suspension of this partner.")
@click.option("--posture", type=click.Choice([*Posture]), help="Declare this posture.")
@click.option("--until", metavar="TIME", help="When the policy's own posture holds again, e.g. 2026-03-01T12:00:00Z.")
@click.option("--roster", "roster_file", type=FILE, help="Replace the roster of officers by this one.")
@click.option("--key", type=FILE, required=True, help="Your key, as `signalfire pki officer-key` made it.")
@click.option("--order", "order_file", type=FILE, help="Add your signature to this order instead of writing one.")
@click.option("--first", "first", type=FILE, metavar="ROSTER", help="It is a node's first order, under this roster.")
@click.option("--after", "after", type=FILE, metavar="STATUS", help="Output of `signalfire policy status --json`.")
@click.option(
    "--hours",
    type=click.FloatRange(0, 744, min_open=True),
    default=72.0,
    show_default=True,
    help="How long the order can be put in force.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write the order.")
@gateway_options_if_any
def sign_command(
    connect: Callable[[], Client] | None,
    directory: Path | None,
    suspended: str | None,
    reason: str | None,
    resumed: str | None,
    posture: str | None,
    until: str | None,
    roster_file: Path | None,
    key: Path,
    order_file: Path | None,
    first: Path | None,
    after: Path | None,
    hours: float,
    out: Path | None,
) -> None:
    """Write an order and sign it, or add a signature to one.

    An order does one thing: it activates the policy in DIRECTORY, suspends or resumes a partner, declares a posture,
    or replaces the roster. It is written for its place in the node's sequence, which the gateway tells (--gateway with
    --credentials, or --after with a saved status); a node's first order needs its roster alone (--first).

    The second officer gives --order, and DIRECTORY to make sure that it is this policy that the order activates. Read
    what is printed before you pass it on: it is what you have signed.

    \b
    Examples:
      signalfire policy sign policies/jpn --first roster.yaml --key alice.key --out first.order
      signalfire policy sign policies/jpn --order first.order --key bob.key
      signalfire policy sign --posture IMMINENT --until 2026-03-01T12:00:00Z --after status.json --key alice.key
    """
    with refusals():
        own = read_officer_key(key)
        if order_file is not None:
            if any((suspended, resumed, posture, roster_file)):
                raise click.UsageError("--order signs the order as it is; it takes no other action")
            orders = _countersigned(order_file, directory, own)
            _write(out or order_file, orders, None if first is None else read_roster(first, own.node))
            return
        action = _action(directory, suspended, reason, resumed, posture, until, roster_file, own.node)
        place = _place(connect, first, after, own.node)
        signed = new_order(place, action, own, timedelta(hours=hours))
        _write(out or Path(f"{place.node.lower()}-{place.sequence}.order"), [signed], place.roster)


@click.command("show-order")
@click.argument("file", type=FILE)
@click.option("--roster", "roster_file", type=FILE, help="The roster in force, to check the signatures by.")
def show_order_command(file: Path, roster_file: Path | None) -> None:
    """Say in words what an order does, who signed it, and what is still missing.

    Without --roster the signatures are listed and not checked; the gateway checks them by the roster in force.

    \b
    Example: signalfire policy show-order first.order --roster roster.yaml
    """
    with refusals():
        for signed in orders_in(file):
            node = decode(signed.order).node
            _say(signed, None if roster_file is None else read_roster(roster_file, node))


def new_order(place: Place, action: Action, key: OfficerKey, valid: timedelta) -> SignedOrder:
    """The order that does this at that place, with the first signature."""
    if key.node != place.node:
        raise click.ClickException(f"the key is of an officer of {key.node}, and the order is for {place.node}")
    now = datetime.now(UTC).replace(microsecond=0)
    order = Order(place.node, place.sequence, place.previous, now, now + valid, action)
    signed = SignedOrder(encode(order))
    # What the gateway would call malformed is refused before it is signed.
    decode(signed.order)
    return sign(signed, key.name, key.node, key.seed)


def read_bundle(directory: Path, node: str) -> Mapping[str, bytes]:
    """The files of the policy in a directory, which compiles and is that of `node`. Raises PolicyError."""
    files = read_files(directory)
    bundle = compile_bundle(files)
    if bundle.node != node:
        raise click.ClickException(f"{directory}: the policy is that of {bundle.node}, and the order is for {node}")
    return files


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what can go wrong into messages with exit code 1."""
    try:
        yield
    except (IdentityError, PolicyError, OrderRefused, ClientError, ConnectionError) as error:
        raise click.ClickException(str(error)) from error
    except OSError as failed:
        raise click.ClickException(f"{failed.filename or 'file'}: {failed.strerror or failed}") from failed


def _action(
    directory: Path | None,
    suspended: str | None,
    reason: str | None,
    resumed: str | None,
    posture: str | None,
    until: str | None,
    roster_file: Path | None,
    node: str,
) -> Action:
    if sum(each is not None for each in (directory, suspended, resumed, posture, roster_file)) != 1:
        raise click.UsageError("an order does one thing: give DIRECTORY, --suspend, --resume, --posture or --roster")
    if (reason is None) != (suspended is None):
        raise click.UsageError("--suspend and --reason go together")
    if until is not None and posture is None:
        raise click.UsageError("--until goes with --posture")
    if directory is not None:
        return Activate(compile_bundle(read_bundle(directory, node)).digest)
    if suspended is not None:
        return Suspend(suspended, reason or "")
    if resumed is not None:
        return Resume(resumed)
    if posture is not None:
        return DeclarePosture(Posture(posture), None if until is None else _time(until))
    assert roster_file is not None
    return ReplaceRoster(read_roster(roster_file, node))


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--until {text}: is not a time, such as 2026-03-01T12:00:00Z") from error
    if time.tzinfo is None:
        raise click.UsageError(f"--until {text}: has no time zone; write it with Z for UTC")
    return time.astimezone(UTC)


def _place(connect: Callable[[], Client] | None, first: Path | None, after: Path | None, node: str) -> Place:
    if sum(each is not None for each in (connect, first, after)) != 1:
        raise click.UsageError(
            "say where the order goes: --gateway with --credentials, --after STATUS or --first ROSTER"
        )
    if first is not None:
        roster = read_roster(first, node)
        return Place(node, 1, roster.digest, roster)
    if after is not None:
        return Place.after(_saved(after))
    assert connect is not None
    return Place.after(asyncio.run(connect().policy_status()))


def _saved(path: Path) -> officer_pb2.GetPolicyStatusResponse:
    try:
        return json_format.Parse(path.read_text("utf-8"), officer_pb2.GetPolicyStatusResponse())
    except (UnicodeDecodeError, json_format.ParseError) as error:
        raise click.ClickException(f"{path}: is not the output of `signalfire policy status --json`") from error


def _countersigned(path: Path, directory: Path | None, key: OfficerKey) -> list[SignedOrder]:
    """The orders in the file, the last of them with one more signature."""
    *before, signed = orders_in(path)
    order = decode(signed.order)
    if order.node != key.node:
        raise click.ClickException(f"{path}: is an order for {order.node}, and the key is of an officer of {key.node}")
    if any(signature.officer == key.name for signature in signed.signatures):
        raise click.ClickException(f"{path}: {key.name} has signed it already; it takes another officer")
    if directory is not None:
        found = compile_bundle(read_bundle(directory, order.node)).digest
        if order.action != Activate(found):
            raise click.ClickException(f"{path}: does not activate {directory}, whose digest is {found.hex()}")
    elif isinstance(order.action, Activate):
        click.echo("You sign a policy that was not compared with any directory; give it to be sure.", err=True)
    return [*before, sign(signed, key.name, key.node, key.seed)]


def _write(path: Path, orders: list[SignedOrder], roster: Roster | None) -> None:
    path.write_bytes(write_orders(orders))
    _say(orders[-1], roster)
    click.echo(f"Written to {path}.")


def _say(signed: SignedOrder, roster: Roster | None) -> None:
    click.echo("\n".join([*describe(signed), *missing(signed, roster)]))
