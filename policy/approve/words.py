"""An order in words, for whoever is asked to sign it. No I/O."""

from __future__ import annotations

from datetime import datetime

from policy.approve.order import (
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    ReplaceRoster,
    Resume,
    Route,
    SignedOrder,
    Suspend,
    decode,
    holds,
)
from policy.approve.roster import Roster


def effect(order: Order) -> str:
    """What the order does, in one line."""
    match order.action:
        case Activate(bundle):
            return f"puts the policy {bundle.hex()} in force"
        case Suspend(partner, reason):
            return f"suspends {partner}: nothing is released to it any more ({reason})"
        case Resume(partner):
            return f"resumes {partner}: what the policy releases goes to it again"
        case DeclarePosture(posture, until):
            end = "another is declared" if until is None else f"{shown(until)}; then the policy's own holds again"
            return f"declares the posture {posture} until {end}"
        case ReplaceRoster(roster):
            names = ", ".join(officer.name for officer in roster.officers)
            return f"replaces the roster: from now on {names} sign; {_levels(roster)}"
        case Route(partner, ()):
            return f"lets nobody carry between {order.node} and {partner} any more"
        case Route(partner, carriers):
            return (
                f"lets {' and '.join(carriers)} carry what passes between {order.node} and {partner}, sealed: alerts by"
                " every way at once, and the rest when the direct link does not bring it; nobody else"
            )
        case CarryFor(one, other, ended):
            if ended:
                return f"carries between {one} and {other} no more"
            return f"carries between {one} and {other}, when they ask for it, what {order.node} cannot read"


def describe(signed: SignedOrder) -> list[str]:
    """The order as lines. Raises OrderRefused where it is none."""
    order = decode(signed.order)
    lines = [
        f"Order {order.sequence} of {order.node}: {effect(order)}.",
        f"Its digest: {signed.digest.hex()}",
        f"It follows: {order.previous.hex()}",
        f"Issued {shown(order.issued)}; stale from {shown(order.expires)}.",
    ]
    if isinstance(order.action, ReplaceRoster):
        lines += [f"  {officer.vkey(order.node)}" for officer in order.action.roster.officers]
        lines += [f"  NOT FIT: {fault}" for fault in order.action.roster.faults()]
        lines += [f"  Note: {remark}" for remark in order.action.roster.remarks()]
    return lines


def missing(signed: SignedOrder, roster: Roster | None) -> list[str]:
    """Whose signatures are on the order and what is still missing, as lines; by ``roster``, where one is given."""
    lines = []
    valid: set[str] = set()
    for signature in signed.signatures:
        if roster is None:
            lines.append(f"Signed as {signature.officer}, which cannot be checked without the roster.")
            continue
        officer = roster.named(signature.officer)
        if officer is None or officer.key_id(roster.node) != signature.key_id:
            lines.append(f"Signed as {signature.officer}, with a key that is NOT in the roster.")
        elif not holds(signature, officer, signed.order):
            lines.append(f"The signature of {signature.officer} does NOT hold.")
        elif signature.officer in valid:
            lines.append(f"Signed by {signature.officer} AGAIN: the node refuses it; take one out.")
        else:
            valid.add(signature.officer)
            lines.append(f"Signed by {signature.officer}.")
    if not signed.signatures:
        lines.append("Signed by nobody.")
    if roster is None:
        return [*lines, "How many are missing cannot be told without the roster."]
    return [*lines, _takes(signed, roster, len(valid))]


def _takes(signed: SignedOrder, roster: Roster, count: int) -> str:
    levels, action = roster.thresholds, decode(signed.order).action
    match action:
        case Suspend():
            needed, also = levels.tighten, ""
        case Activate():
            needed = levels.loosen
            also = (
                f" ({levels.tighten} where the node proves that it releases nothing new;"
                f" {levels.remove_invariant} where it removes or weakens an invariant)"
            )
        case Route(_, ()) | CarryFor(ended=True):
            needed, also = levels.tighten, ""
        case Route():
            needed, also = levels.loosen, f" ({levels.tighten} where every carrier is one already)"
        case ReplaceRoster(new) if new.thresholds.remove_invariant < levels.remove_invariant:
            needed, also = levels.remove_invariant, ""
        case _:
            needed, also = levels.loosen, ""
    state = "enough" if count >= needed else f"{needed - count} missing"
    return f"{count} of {needed} signatures{also}: {state}."


def _levels(roster: Roster) -> str:
    levels = roster.thresholds
    return f"{levels.loosen} to loosen, {levels.tighten} to tighten, {levels.remove_invariant} to remove an invariant"


def shown(time: datetime) -> str:
    """A time as it is shown: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
