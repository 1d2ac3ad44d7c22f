"""The forms in which recorded decisions are written: a table for a screen, JSON Lines, CSV, syslog, OCSF.

Whatever stands in a record, a form shows it and does nothing else with it: no escape reaches a terminal
(`gateway.cli.visible`), no cell of CSV is taken for a formula, no value ends a line or a field of syslog.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC
from enum import StrEnum
from typing import Final

from google.protobuf import json_format
from rich.table import Table
from rich.text import Text
from signalfire.v1 import officer_pb2

from gateway.cli import audit_ocsf, audit_syslog
from gateway.cli.audit_rows import Row, outcome_of, precedence_of, rows_of, time_text, traffic_class_of
from gateway.cli.visible import visible


class Form(StrEnum):
    """How records are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    SYSLOG = "syslog"
    OCSF = "ocsf"


COLUMNS: Final = (
    "time", "ledger", "index", "report_id", "originator_node", "kind", "event_id", "traffic_class", "precedence",
    "partner", "outcome", "rule", "agreement", "policy_digest", "posture", "submitted_by", "accepted_time",
    "release_ledger", "release_index", "fields", "changed", "hold_until", "withdrawals", "error", "detail",
)  # fmt: skip
"""Columns of CSV. Of an event `kind` is the kind of the event and `detail` what it says; the others are empty."""

_FORMULA: Final = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
"""With what a cell begins that a spreadsheet may take for a formula (OWASP, "CSV Injection"); the last four are the
full-width forms of the first four."""


def lines(entries: Iterable[officer_pb2.RecordedEntry], form: Form) -> Iterator[str]:
    """The records in a form of lines: every one but the table. No line ends stand in them."""
    for entry in entries:
        match form:
            case Form.JSONL:
                yield json_line(entry)
            case Form.CSV:
                yield from (_csv_line(_cells(row)) for row in rows_of(entry))
            case Form.SYSLOG:
                yield from map(audit_syslog.message, rows_of(entry))
            case Form.OCSF:
                yield from (json.dumps(audit_ocsf.event(row)) for row in rows_of(entry))
            case Form.TABLE:
                yield from map(text_line, rows_of(entry))


def head(form: Form) -> Iterator[str]:
    """The lines that a form begins with."""
    if form is Form.CSV:
        yield _csv_line(COLUMNS)


def json_line(entry: officer_pb2.RecordedEntry) -> str:
    """A record as it is on the wire, in protobuf's JSON form, in ASCII."""
    return json.dumps(
        json_format.MessageToDict(entry, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    )


def text_line(row: Row) -> str:
    """A row as a line of text, for a watch: what a table would show, one line each as it comes."""
    time = time_text(row.time)
    if row.event is not None:
        return visible(f"{time} {row.index} {row.event.kind}: {row.event.detail}")
    assert row.record is not None
    assert row.decision is not None
    record, decision = row.record, row.decision
    said = f"{time} {row.index} {decision.partner} {outcome_of(decision)} {decision.rule}"
    about = f"{record.kind} {record.report_id} of {record.originator_node}, {record.event_id}"
    return visible(f"{said}: {about}, {traffic_class_of(record)} {precedence_of(record)}")


def table(entries: Iterable[officer_pb2.RecordedEntry]) -> Iterator[Table]:
    """The decisions, and then the events, as tables; none of what there is nothing of. Identifiers are never cut."""
    rows = [row for entry in entries for row in rows_of(entry)]
    decided = [row for row in rows if row.event is None]
    if decided:
        shown = _table("time", "index", "partner", "outcome", "by", "report")
        for row in decided:
            assert row.record is not None
            assert row.decision is not None
            record, decision = row.record, row.decision
            under = [f"under {decision.agreement}"] if decision.agreement else []
            about = f"{record.kind}, {traffic_class_of(record)} {precedence_of(record)}"
            shown.add_row(
                *_plain(_to_milliseconds(row), str(row.index), decision.partner, outcome_of(decision)),
                _paragraph(decision.rule, *under),
                _paragraph(about, record.report_id, f"{record.originator_node}, event {record.event_id}"),
            )
        yield shown
    happened = [row for row in rows if row.event is not None]
    if happened:
        shown = _table("time", "index", "event", "detail")
        for row in happened:
            assert row.event is not None
            shown.add_row(*_plain(_to_milliseconds(row), str(row.index), row.event.kind, row.event.detail))
        yield shown


def _table(*columns: str) -> Table:
    made = Table()
    for name in columns:
        made.add_column(name, overflow="fold")
    return made


def _to_milliseconds(row: Row) -> str:
    return f"{row.time.ToDatetime(UTC):%Y-%m-%dT%H:%M:%S}.{row.time.nanos // 1_000_000:03}Z"


def _plain(*cells: str) -> Iterator[Text]:
    """Cells that no markup of the terminal library is read in."""
    return (Text(visible(cell)) for cell in cells)


def _paragraph(*lines: str) -> Text:
    return Text("\n").join(_plain(*lines))


# --- CSV (RFC 4180)


def _cells(row: Row) -> Iterator[str]:
    if row.event is not None:
        given = {"kind": row.event.kind, "detail": row.event.detail}
    else:
        assert row.record is not None
        assert row.decision is not None
        record, decision = row.record, row.decision
        given = {
            "report_id": record.report_id,
            "originator_node": record.originator_node,
            "kind": record.kind,
            "event_id": record.event_id,
            "traffic_class": traffic_class_of(record),
            "precedence": precedence_of(record),
            "partner": decision.partner,
            "outcome": outcome_of(decision),
            "rule": decision.rule,
            "agreement": decision.agreement,
            "policy_digest": record.policy_digest.hex(),
            "posture": record.posture,
            "submitted_by": record.submitted_by,
            "accepted_time": time_text(record.accepted_time),
            "release_ledger": decision.ledger,
            "release_index": str(decision.index) if decision.HasField("index") else "",
            "fields": " ".join(decision.fields),
            "changed": " ".join(decision.changed),
            "hold_until": time_text(decision.hold_until),
            "withdrawals": str(decision.withdrawals),
            "error": decision.error,
        }
    given |= {"time": time_text(row.time), "ledger": row.ledger, "index": str(row.index)}
    return (given.get(column, "") for column in COLUMNS)


def _csv_line(cells: Iterable[str]) -> str:
    out = io.StringIO()
    # Every cell in quotes: where ";" separates, a spreadsheet would otherwise begin another cell within one.
    csv.writer(out, lineterminator="", quoting=csv.QUOTE_ALL).writerow([_no_formula(visible(cell)) for cell in cells])
    return out.getvalue()


def _no_formula(cell: str) -> str:
    parts = cell.split(";")
    return f"'{cell}" if any(part.strip().startswith(_FORMULA) for part in parts) else cell
