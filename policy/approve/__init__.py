"""Approval: the officers' signed orders, and what they have put in force. Pure; the gateway carries it out.

    roster = parse_roster("roster.yaml", raw)                       # whose signatures count
    state = State.genesis(roster)                                   # nothing in force: everything is withheld
    order = Order("JPN", 1, state.last, issued, expires, Activate(digest))
    signed = sign(sign(SignedOrder(encode(order)), "alice", "JPN", seed), "bob", "JPN", other_seed)
    judgement = judge(state, signed, files, now=now, ...)           # or OrderRefused, with all that stands against it
    state = judgement.state

The modules, each one idea: ``roster`` (who), ``order`` (what, and its signatures), ``armour`` (orders as a file),
``words`` (orders for people), ``state`` (what is in force), ``judge`` (whether an order may be),
and ``refusals``, the errors.
"""

from __future__ import annotations

from policy.approve.armour import read_orders, write_orders
from policy.approve.judge import Judgement, OrderLimits, Prover, confirm, glance, judge, replay
from policy.approve.order import (
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    ReplaceRoster,
    Resume,
    Route,
    Signature,
    SignedOrder,
    Suspend,
    decode,
    encode,
    sign,
)
from policy.approve.refusals import OrderRefused, Reason, Refusal
from policy.approve.roster import Officer, Roster, Thresholds, default_thresholds, parse_officer, parse_roster
from policy.approve.state import Declared, State, Suspension
from policy.approve.words import describe, effect, missing

__all__ = [
    "Activate",
    "CarryFor",
    "DeclarePosture",
    "Declared",
    "Judgement",
    "Officer",
    "Order",
    "OrderLimits",
    "OrderRefused",
    "Prover",
    "Reason",
    "Refusal",
    "ReplaceRoster",
    "Resume",
    "Roster",
    "Route",
    "Signature",
    "SignedOrder",
    "State",
    "Suspend",
    "Suspension",
    "Thresholds",
    "confirm",
    "decode",
    "default_thresholds",
    "describe",
    "effect",
    "encode",
    "glance",
    "judge",
    "missing",
    "parse_officer",
    "parse_roster",
    "read_orders",
    "replay",
    "sign",
    "write_orders",
]
