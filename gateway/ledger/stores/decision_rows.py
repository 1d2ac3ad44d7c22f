"""What a store holds of decisions: the orders they rest on, where each is on record, and what partners gave back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.ledger.origin import Origin
from gateway.ledger.stores.ledger_rows import LedgerId


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order of the officers that was put in force. `payload` is sealed under the node's storage key; `event` is the
    index of its record in the decisions ledger.
    """

    sequence: int
    digest: bytes
    enacted_ns: int
    event: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What decisions have in common. `name` holds rule and agreement, sealed under the node's storage key.

    An event of the node has neither partner nor outcome; its kind stands as the rule. `originator` is empty for an own
    report.
    """

    id: int
    partner: str
    originator: str
    outcome: int
    kind: str
    traffic_class: int
    precedence: int
    name: bytes


class DecisionPlace(NamedTuple):
    """When a record was made, and as which entry of which decisions ledger. Places compare in the order of time."""

    time_ns: int
    ledger: LedgerId
    entry: int


@dataclass(frozen=True, slots=True)
class DecisionRange:
    """Places from `first` to `last`, both included."""

    first: DecisionPlace
    last: DecisionPlace


class DecisionRow(NamedTuple):
    """One decision, or one event of the node."""

    verdict: int
    place: DecisionPlace


class DecisionSubjectRow(NamedTuple):
    """A record of decisions by what it is about. An own report's first one in the first generation of the decisions
    ledger has none: `ReportRow.decision` names it.
    """

    report_id: bytes
    event_id: str
    place: DecisionPlace


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """A recovery record that a partner gave back: where it was sealed, where its key stands (`key_index`), and the
    serialised `SealedRecovery`. `rebuilt`: what it says is on record again.
    """

    ledger: Origin
    index: int
    key_index: int
    sealed: bytes
    rebuilt: bool = False
