"""`signalfire policy sign` and `show-order`: writing orders, signing them, and reading what they do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from google.protobuf import json_format
from signalfire.v1 import officer_pb2

from gateway.cli.connecting import gateway_options_if_any, unreached
from gateway.cli.protection import key_passphrase, passphrase_option
from gateway.cli.signable import read_bundle, require_still_good, require_tested_and_proved
from gateway.client import Client, ClientError
from gateway.identity.errors import IdentityError
from gateway.identity.officer_keys import OfficerKey, read_officer_key
from gateway.release.governance import orders_in, read_roster
from policy import Posture
from policy.approve import (
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    OrderRefused,
    ReplaceRoster,
    Resume,
    Roster,
    Route,
    SignedOrder,
    Suspend,
    decode,
    describe,
    effect,
    encode,
    missing,
    sign,
    write_orders,
)
from policy.approve.order import Action
from policy.errors import PolicyError

DIRECTORY: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_CODE: Final = re.compile("[A-Z]{3}")


def partner_code(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A partner's code as it is written, as a callback of click. Raises BadParameter."""
    if value is None or _CODE.fullmatch(value):
        return value
    capitals = value.upper()
    mended = f"write {capitals}" if _CODE.fullmatch(capitals) else "use the ISO 3166-1 alpha-3 code, such as KOR"
    raise click.BadParameter(f"{value} is no partner's code: {mended}.", ctx, param)


def partner_codes(ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Partners' codes as they are written, as a callback of click. Raises BadParameter."""
    for code in value or ():
        partner_code(ctx, param, code)
    return value


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
@click.option("--suspend", "suspended", metavar="CODE", callback=partner_code, help="Suspend this partner.")
@click.option("--reason", help="Why, in your words. With --suspend.")
@click.option("--resume", "resumed", metavar="CODE", callback=partner_code, help="End the suspension of this partner.")
@click.option("--posture", type=click.Choice([*Posture]), help="Declare this posture.")
@click.option("--until", metavar="TIME", help="When the policy's own posture holds again, e.g. 2026-03-01T12:00:00Z.")
@click.option("--roster", "roster_file", type=FILE, help="Replace the roster of officers by this one.")
@click.option("--route", metavar="CODE", callback=partner_code, help="Say who may carry between us and this partner.")
@click.option(
    "--through",
    metavar="CODE",
    multiple=True,
    callback=partner_codes,
    help="With --route: a carrier, and again for each further one. They replace those before.",
)
@click.option(
    "--carry-for", metavar="CODE CODE", nargs=2, callback=partner_codes, help="Carry between these two partners."
)
@click.option("--ended", is_flag=True, help="With --route or --carry-for: nobody carries any more, or we do not.")
@click.option("--key", type=FILE, required=True, help="Your key, as `signalfire pki officer-key` made it.")
@passphrase_option("your key")
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
@click.option("--although-cases-fail", is_flag=True, help="Sign the policy in DIRECTORY even if its cases fail.")
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
    route: str | None,
    through: tuple[str, ...],
    carry_for: tuple[str, ...] | None,
    ended: bool,
    key: Path,
    passphrase_file: Path | None,
    order_file: Path | None,
    first: Path | None,
    after: Path | None,
    hours: float,
    although_cases_fail: bool,
    out: Path | None,
) -> None:
    """Write an order and sign it, or add a signature to one.

    An order does one thing: it activates the policy in DIRECTORY, suspends or resumes a partner, declares a posture,
    replaces the roster, or says who carries what is sealed between whom. It is written for its place in the node's
    sequence, which the gateway tells (--gateway with --credentials, or --after with a saved status); a node's first
    order needs its roster alone (--first).

    The cases of the policy are run and its invariants proved first: it is not signed where any fails.

    The second officer gives --order, and DIRECTORY to make sure that it is this policy that the order activates. With
    --gateway and --credentials (or --after, --first) the signatures are checked, and those that are missing counted.
    Read what is printed before you pass it on: it is what you have signed.

    \b
    Examples:
      signalfire policy sign policies/jpn --first roster.yaml --key alice.key --out first.order
      signalfire policy sign policies/jpn --order first.order --key bob.key
      signalfire policy sign --route KOR --through USA --after status.json --key alice.key
      signalfire policy sign --posture IMMINENT --until 2026-03-01T12:00:00Z --after status.json --key alice.key
    """
    with refusals():
        own = read_officer_key(key, key_passphrase(key, passphrase_file))
        if order_file is not None:
            if any((suspended, resumed, posture, roster_file, route, through, carry_for, ended)):
                raise click.UsageError("--order signs the order as it is; it takes no other action")
            if out is not None and out.resolve() != order_file.resolve():
                _require_absent(out)
            known = any(each is not None for each in (connect, first, after))
            roster = _place(connect, first, after, own.node).roster if known else None
            orders = _countersigned(order_file, directory, own, although_cases_fail=although_cases_fail)
            _write(out or order_file, orders, roster)
            return
        if out is not None:
            _require_absent(out)
        action = _action(
            directory,
            suspended,
            reason,
            resumed,
            posture,
            until,
            roster_file,
            own.node,
            although_cases_fail=although_cases_fail,
            carrying=_carrying(route, through, carry_for, ended=ended),
        )
        place = _place(connect, first, after, own.node)
        path = out or Path(f"{place.node.lower()}-{place.sequence}.order")
        _require_absent(path)
        _write(path, [new_order(place, action, own, timedelta(hours=hours))], place.roster)


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
    require_still_good(order, now)
    return sign(signed, key.name, key.node, key.seed)


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what can go wrong into messages with exit code 1."""
    try:
        yield
    except (IdentityError, PolicyError, OrderRefused, ClientError) as error:
        raise click.ClickException(str(error)) from error
    except ConnectionError as error:
        raise click.ClickException(unreached(error)) from error
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
    *,
    although_cases_fail: bool,
    carrying: Route | CarryFor | None,
) -> Action:
    if sum(each is not None for each in (directory, suspended, resumed, posture, roster_file, carrying)) != 1:
        raise click.UsageError(
            "an order does one thing: give DIRECTORY, --suspend, --resume, --posture, --roster, --route or --carry-for"
        )
    if (reason is None) != (suspended is None):
        raise click.UsageError("--suspend and --reason go together")
    if until is not None and posture is None:
        raise click.UsageError("--until goes with --posture")
    if although_cases_fail and directory is None:
        raise click.UsageError("--although-cases-fail goes with DIRECTORY")
    if directory is not None:
        bundle = read_bundle(directory, node)
        require_tested_and_proved(directory, bundle, although_cases_fail=although_cases_fail)
        return Activate(bundle.digest)
    if suspended is not None:
        return Suspend(suspended, reason or "")
    if resumed is not None:
        return Resume(resumed)
    if posture is not None:
        return DeclarePosture(Posture(posture), None if until is None else _time(until))
    if carrying is not None:
        return carrying
    assert roster_file is not None
    return ReplaceRoster(read_roster(roster_file, node))


def _carrying(
    route: str | None, through: tuple[str, ...], carry_for: tuple[str, ...] | None, *, ended: bool
) -> Route | CarryFor | None:
    if route is not None and carry_for:
        raise click.UsageError("an order does one thing: --route says who carries for us, --carry-for for whom we do")
    if route is not None:
        if ended is bool(through):
            raise click.UsageError("--route takes its carriers with --through, or --ended where nobody may carry")
        return Route(route, through)
    if through:
        raise click.UsageError("--through goes with --route")
    if carry_for:
        one, other = sorted(carry_for)
        return CarryFor(one, other, ended)
    if ended:
        raise click.UsageError("--ended goes with --route or --carry-for")
    return None


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


def _countersigned(
    path: Path, directory: Path | None, key: OfficerKey, *, although_cases_fail: bool
) -> list[SignedOrder]:
    """The orders in the file, the last of them with one more signature."""
    *before, signed = orders_in(path)
    order = decode(signed.order)
    if order.node != key.node:
        raise click.ClickException(f"{path}: is an order for {order.node}, and the key is of an officer of {key.node}")
    if any(signature.officer == key.name for signature in signed.signatures):
        raise click.ClickException(f"{path}: {key.name} has signed it already; it takes another officer")
    require_still_good(order, datetime.now(UTC))
    if directory is not None:
        bundle = read_bundle(directory, order.node)
        if order.action != Activate(bundle.digest):
            raise click.ClickException(_another(path, order, directory, bundle.digest))
        require_tested_and_proved(directory, bundle, although_cases_fail=although_cases_fail)
    elif isinstance(order.action, Activate):
        click.echo("You sign a policy that was not compared with any directory; give it to be sure.", err=True)
    return [*before, sign(signed, key.name, key.node, key.seed)]


def _another(path: Path, order: Order, directory: Path, found: bytes) -> str:
    """Says that an order does not activate what is in the directory, and what to do."""
    match order.action:
        case Activate(digest):
            return (
                f"{path}: does not activate {directory}: the order is of the policy {digest.hex()}, and the directory"
                f" holds {found.hex()}. Get the directory as it was signed, or have a new order written for this one"
            )
        case _:
            return f"{path}: does not activate {directory}: it {effect(order)}. To sign that, leave the directory out"


def _require_absent(path: Path) -> None:
    if path.exists():
        raise click.ClickException(
            f"{path}: is there already. Add your signature to it with --order {path}, or name another file with --out"
        )


def _write(path: Path, orders: list[SignedOrder], roster: Roster | None) -> None:
    path.write_bytes(write_orders(orders))
    _say(orders[-1], roster)
    if roster is None:
        click.echo("Give --gateway with --credentials (or --first ROSTER, --after STATUS) to have them counted.")
    click.echo(f"Written to {path}.")


def _say(signed: SignedOrder, roster: Roster | None) -> None:
    click.echo("\n".join([*describe(signed), *missing(signed, roster)]))
