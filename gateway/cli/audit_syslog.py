"""Recorded decisions as syslog messages (RFC 5424), one a line, for a collector that reads lines.

- Facility 13, "log audit". Severity: 6 (informational) what was released or is held, 5 (notice) what was withheld and
  every event, 4 (warning) an event that asks for somebody's attention, 3 (error) what was withheld because a rule
  failed, 2 (critical) evidence of a fork.
- HOSTNAME is the node's code; MSGID is `decision` or `event`.
- The structured data have the SD-ID `signalfire@32473`: 32473 is the enterprise number for documentation (RFC 5612),
  which a nation replaces by its own where it has one.
- A message is at most 2048 octets, which every receiver SHOULD accept (6.1): values are cut, and end in "...".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.cli.audit_rows import ATTENTION, FORK, Row, outcome_of, precedence_of, time_text, traffic_class_of
from gateway.cli.visible import visible

MAX_OCTETS: Final = 2048
"""Octets of a message (RFC 5424, 6.1)."""

_MAX_VALUE: Final = 128
"""Octets of one value of the structured data, escapes included: it holds every identifier that there is."""

_AUDIT: Final = 13
_CRITICAL, _ERROR, _WARNING, _NOTICE, _INFORMATIONAL = 2, 3, 4, 5, 6

_BOM: Final = "\ufeff"


def message(row: Row) -> str:
    """A row as one message, without a line end."""
    kind = "decision" if row.event is None else "event"
    # A fraction of a second has at most six digits (6.2.3).
    seconds = row.time.ToNanoseconds() // 1_000_000_000
    time = f"{_date(row, seconds)}.{row.time.nanos // 1000:06}Z"
    head = f"<{_AUDIT * 8 + _severity(row)}>1 {time} {row.node} signalfire - {kind} "
    data = "".join(f' {name}="{_value(value)}"' for name, value in _parameters(row) if value)
    begun = f"{head}[signalfire@32473{data}] "
    return begun + _said(_words(row), MAX_OCTETS - len(begun.encode()))


def _date(row: Row, seconds: int) -> str:
    return time_text(type(row.time)(seconds=seconds)).removesuffix("Z") or "1970-01-01T00:00:00"


def _severity(row: Row) -> int:
    if row.event is not None:
        if row.event.kind == FORK:
            return _CRITICAL
        return _WARNING if row.event.kind in ATTENTION else _NOTICE
    assert row.decision is not None
    if row.decision.error:
        return _ERROR
    return _NOTICE if row.decision.outcome == ledger_pb2.OUTCOME_WITHHELD else _INFORMATIONAL


def _parameters(row: Row) -> Iterator[tuple[str, str]]:
    yield "ledger", row.ledger
    yield "index", str(row.index)
    if row.event is not None:
        yield "kind", row.event.kind
        return
    assert row.record is not None
    assert row.decision is not None
    record, decision = row.record, row.decision
    yield "report", record.report_id
    yield "originator", record.originator_node
    yield "kind", record.kind
    yield "event", record.event_id
    yield "class", traffic_class_of(record)
    yield "precedence", precedence_of(record)
    yield "partner", decision.partner
    yield "outcome", outcome_of(decision)
    yield "rule", decision.rule
    yield "agreement", decision.agreement
    yield "policy", record.policy_digest.hex()
    yield "posture", record.posture
    yield "submittedBy", record.submitted_by
    yield "releaseLedger", decision.ledger
    yield "releaseIndex", str(decision.index) if decision.HasField("index") else ""
    yield "holdUntil", time_text(decision.hold_until)
    yield "withdrawals", str(decision.withdrawals) if decision.withdrawals else ""


def _words(row: Row) -> str:
    if row.event is not None:
        return f"{row.event.kind}: {row.event.detail}"
    assert row.record is not None
    assert row.decision is not None
    said = f"{row.record.kind} {row.record.report_id} {outcome_of(row.decision)} for {row.decision.partner}"
    by = f"{said} by {row.decision.rule}"
    return f"{by}: {row.decision.error}" if row.decision.error else by


def _value(value: str) -> str:
    """A PARAM-VALUE: a quote, a backslash and a closing bracket are escaped (6.3.3), and nothing is cut in two."""
    parts = ["\\" + each if each in '"\\]' else each for each in visible(value)]
    return _cut(parts, _MAX_VALUE)


def _said(words: str, octets: int) -> str:
    """The MSG in what room is left: with a byte order mark where it is more than ASCII (6.4)."""
    shown = visible(words)
    if shown.isascii():
        return _cut(shown, octets)
    return _BOM + _cut(shown, octets - len(_BOM.encode()))


def _cut(parts: list[str] | str, octets: int) -> str:
    """As much of the parts as fits, with "..." where that is not all; nothing where there is no room for that."""
    if sum(len(part.encode()) for part in parts) <= octets:
        return "".join(parts)
    kept, room = [], octets - len("...")
    for part in parts:
        room -= len(part.encode())
        if room < 0:
            break
        kept.append(part)
    return "".join(kept) + "..." if octets >= len("...") else ""
