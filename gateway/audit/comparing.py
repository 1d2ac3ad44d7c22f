"""Checks a store's records, which queries and subscribers read, against the ledgers, which are signed.

1. Every release that a decision names is an entry of that ledger that holds a copy of that report, and every report in
   an own ledger has a decision that released it. Every withdrawal is of a release, and each release is withdrawn once.
   A ledger's successor may hold both again: the release then stands on record there. A withdrawal that was kept back
   is none. What is kept back is what the decisions ledger says was, each entry once; and so is what was pruned.
2. Who was released what, and what was withdrawn, stands on record so, and nothing else does.
3. Every accepted report is kept, as its decision describes it and with the content whose digest that names; no other
   is. It is on record as withdrawn if, and only if, a later one recalls it. Of one that was pruned the envelope is
   kept, and no more.
   A decision on another node's report names the entry that brought it, and its digest.
4. Every order of the officers that the decisions ledger says was put in force is kept, in one sequence, and no other.
5. The index by which decisions are searched holds each of them (`gateway.audit.index_check`).
6. What subscribers are given is what the ledgers hold (`gateway.audit.feed_check`).

Everything is compared in order and one row after another, in the temporary database of `gateway.audit.gathered`.
"""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.feed_check import compare_feed
from gateway.audit.records import Finding, Named, Records, Subject, succeeds
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import LedgerId, ReportRow
from gateway.release.orders import OrdersError, read_in_force
from gateway.release.recovery.after_loss import WARNINGS
from gateway.release.retention import envelope
from gateway.reports.kinds import kind_of
from gateway.seal.errors import SealError

NAMED: Final = 20
"""Reports that are missing in a row and are named one by one; of the others it is said how many they are."""

_RELEASED: Final = f"outcome = {ledger_pb2.OUTCOME_RELEASED}"
_HELD: Final = f"outcome = {ledger_pb2.OUTCOME_HELD}"

_DECIDED: Final = f"SELECT max(n) AS n, line, idx, originator, report_id, partner, record, agreement FROM decision \
    WHERE {_RELEASED} GROUP BY line, idx"
"""Every place that a decision names as a release, with the last that does."""


def compare(records: Records) -> Iterator[Finding]:
    """Everything in which the records differ from the ledgers."""
    records.make_ready()
    yield from _compare_decisions(records)
    yield from _compare_kept_back(records)
    yield from _compare_released(records)
    yield from _compare_waiting(records)
    yield from _compare_reports(records)
    yield from _compare_foreign(records)
    yield from _compare_orders(records)
    yield from compare_feed(records)
    for what in records.index.findings(records.store, records.signatory.storage):
        yield Finding("index of decisions", what)


def _compare_orders(records: Records) -> Iterator[Finding]:
    store = records.store
    kept = Counter((row.event, row.digest) for row in store.orders())
    for index, digest in sorted((records.enacted - kept).elements()):
        yield Finding("orders", f"entry {index} of {DECISIONS} put {digest.hex()} in force, and it is not kept")
    surplus = kept - records.enacted
    for row in store.orders():
        if surplus[(row.event, row.digest)]:
            yield Finding("orders", f"order {row.sequence} is kept, and {DECISIONS} holds no record of it")
    try:
        read_in_force(store, records.signatory)
    except OrdersError as error:
        yield Finding("orders", str(error))


def _compare_decisions(records: Records) -> Iterator[Finding]:
    rows = records.rows
    for line, index, originator, key in rows.rows(
        f"SELECT d.line, d.idx, d.originator, d.report_id FROM ({_DECIDED}) AS d LEFT JOIN sent AS s USING (line, idx)"
        " WHERE s.originator IS NOT d.originator OR s.report_id IS NOT d.report_id"
    ):
        named = Named(originator, key)
        yield Finding(
            rows.origin(line), f"a decision released {named} as entry {index}, and that entry does not hold it"
        )
    yield from _released_again(records)
    yield from _compare_withdrawals(records)


def _released_again(records: Records) -> Iterator[Finding]:
    """Reports in own ledgers that no decision names there: those that a ledger's successor holds again are noted, with
    the place that the decision names. A ledger is numbered when it opens, so that the last generation wins.
    """
    rows = records.rows
    numbers = {rows.line(str(row.origin)): row.id for row in records.store.ledgers()}
    found = []
    for line, index, originator, key in rows.rows(
        f"SELECT line, idx, originator, report_id FROM sent AS s WHERE NOT EXISTS"
        f" (SELECT 1 FROM decision AS d WHERE d.line = s.line AND d.idx = s.idx AND d.{_RELEASED})"
        " AND NOT EXISTS (SELECT 1 FROM back AS b WHERE b.line = s.line AND b.idx = s.idx)"
    ):
        origin = Origin.parse(rows.origin(line))
        before = rows.row(
            f"SELECT line, idx FROM decision WHERE originator = ? AND report_id = ? AND partner = ? AND {_RELEASED}"
            " ORDER BY n DESC LIMIT 1",
            originator, key, origin.recipient or "",
        )  # fmt: skip
        if before is None or not succeeds(origin, Origin.parse(rows.origin(before[0]))):
            yield Finding(
                str(origin), f"entry {index} holds report {Named(originator, key)}, and no decision released it"
            )
            continue
        found.append((numbers.get(line, 0), line, index, *before))
        if len(found) >= 4096:
            _note_again(records, found)
    _note_again(records, found)


def _note_again(records: Records, found: list[tuple[int, int, int, int, int]]) -> None:
    for number, line, index, before, at in found:
        records.rows.do(
            "INSERT INTO again VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT DO UPDATE SET number = ?3, at_line = ?4, at_idx = ?5 WHERE ?3 >= number",
            before, at, number, line, index,
        )  # fmt: skip
    found.clear()


class _Withdrawn(NamedTuple):
    """A withdrawal from a partner."""

    originator: str
    key: bytes
    partner: str
    line: int
    time_ns: int


def _compare_withdrawals(records: Records) -> Iterator[Finding]:
    """What was withdrawn from whom, how often and when. What a successor holds again is counted once."""
    rows = records.rows
    sent = Counter[str]()
    everything = map(
        _Withdrawn._make,
        rows.rows(
            "SELECT originator, report_id, partner, line, time_ns FROM withdrawal"
            " ORDER BY originator, report_id, partner, n"
        ),
    )
    for release, group in itertools.groupby(everything, key=lambda each: each[:3]):
        originator, key, partner = release
        first: Origin | None = None
        count = 0
        for each in group:
            origin = Origin.parse(rows.origin(each.line))
            first = first or origin
            if first == origin or not succeeds(origin, first):
                count += 1
                rows.add("told", *release, each.time_ns)
            elif records.given_back:
                # Told again after the loss, before it came back that it had been told already.
                rows.add("told", *release, each.time_ns)
        sent[partner] += count
        known = rows.row(
            f"SELECT 1 FROM decision WHERE originator = ? AND report_id = ? AND partner = ? AND {_RELEASED} LIMIT 1",
            *release,
        ) or rows.row("SELECT 1 FROM returned WHERE originator = ? AND report_id = ? AND partner = ? LIMIT 1", *release)
        if known is None and partner not in records.hashes_back:
            what = f"{Named(originator, key)} was withdrawn from {partner}, which was never released it"
            yield Finding("releases", what)
        if count > 1 and not records.given_back:
            yield Finding("releases", f"{Named(originator, key)} was withdrawn from {partner} {count} times")
    rows.do("CREATE INDEX told_of ON told (originator, report_id, partner)")
    if records.given_back:
        # The decisions that announced what was told before the loss may be lost themselves.
        return
    untold = records.store.untold_counts()
    for partner in sorted(sent.keys() | records.announced.keys() | untold.keys()):
        waiting = untold.get(partner, 0)
        if sent[partner] + waiting != records.announced[partner]:
            yield Finding(
                "releases",
                f"decisions speak of {records.announced[partner]} withdrawals for {partner}; its ledgers hold"
                f" {sent[partner]}, and {waiting} wait",
            )


def _compare_kept_back(records: Records) -> Iterator[Finding]:
    rows = records.rows
    for one, other in (("kept_back", "said_kept_back"), ("said_kept_back", "kept_back")):
        for line, index in rows.rows(f"SELECT line, idx FROM {one} EXCEPT SELECT line, idx FROM {other}"):
            yield Finding(rows.origin(line), f"whether entry {index} is kept back is wrong on record")
    for line, index, count in rows.rows("SELECT line, idx, count FROM said_kept_back WHERE count > 1"):
        yield Finding(rows.origin(line), f"{DECISIONS} says {count} times that entry {index} is kept back")
    for line, index in rows.rows("SELECT line, idx FROM gone EXCEPT SELECT line, idx FROM pruned"):
        yield Finding(rows.origin(line), f"{DECISIONS} says that entry {index} was pruned, and it was not")


def _compare_released(records: Records) -> Iterator[Finding]:
    store, rows = records.store, records.rows
    origins = {row.id: str(row.origin) for row in store.ledgers()}
    for row in store.each_released():
        rows.add(
            "on_record", row.originator, row.report_id, row.partner, row.ledger, row.index, row.traffic_class,
            row.precedence, row.agreement, row.withdrawn_ns,
        )  # fmt: skip
    for (
        originator, key, partner, line, index, traffic_class, precedence, agreement, there, *found, told,
    ) in rows.rows(
        "SELECT d.originator, d.report_id, d.partner, coalesce(a.at_line, d.line), coalesce(a.at_idx, d.idx),"
        " r.traffic_class, r.precedence, d.agreement,"
        " o.ledger, o.idx, o.traffic_class, o.precedence, o.agreement,"
        " CASE WHEN o.withdrawn_ns IS NULL"
        "  THEN NOT EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id, t.partner) ="
        "   (d.originator, d.report_id, d.partner))"
        "  ELSE EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id, t.partner) ="
        "   (d.originator, d.report_id, d.partner) AND t.time_ns = o.withdrawn_ns) END"
        f" FROM ({_DECIDED}) AS d"
        " JOIN record AS r ON r.n = (SELECT min(n) FROM record AS f WHERE (f.originator, f.report_id) ="
        "  (d.originator, d.report_id))"
        " LEFT JOIN again AS a ON (a.line, a.idx) = (d.line, d.idx)"
        " LEFT JOIN on_record AS o ON (o.originator, o.report_id, o.partner) = (d.originator, d.report_id, d.partner)"
    ):  # fmt: skip
        named = Named(originator, key)
        if there is None:
            yield Finding("releases", f"{named} was released to {partner}, and that is not on record")
            continue
        if (origins.get(there), *found) != (rows.origin(line), index, traffic_class, precedence, agreement):
            yield Finding("releases", f"{named} for {partner} is on record otherwise than {DECISIONS} has it")
        if not told:
            yield Finding("releases", f"{named} for {partner}: whether it was withdrawn is wrong on record")
    yield from _compare_returned(records, origins)
    count = store.counts().released
    decided = rows.number(
        f"SELECT count(*) FROM (SELECT originator, report_id, partner FROM ({_DECIDED})"
        " UNION SELECT originator, report_id, partner FROM returned)"
    )
    if count != decided:
        yield Finding("releases", f"{count} are on record, and decisions made {decided}")


def _compare_returned(records: Records, origins: Mapping[LedgerId, str]) -> Iterator[Finding]:
    """Releases that came back, and of which no decision is on record."""
    rows = records.rows
    for originator, key, partner, line, index, there, at in rows.rows(
        "SELECT r.originator, r.report_id, r.partner, r.line, r.idx, o.ledger, o.idx FROM returned AS r"
        " LEFT JOIN on_record AS o ON (o.originator, o.report_id, o.partner) = (r.originator, r.report_id, r.partner)"
        " WHERE NOT EXISTS (SELECT 1 FROM decision AS d WHERE (d.originator, d.report_id, d.partner) ="
        f"  (r.originator, r.report_id, r.partner) AND d.{_RELEASED})"
    ):
        if there is None or rows.row(
            "SELECT 1 FROM returned WHERE originator = ? AND report_id = ? AND partner = ? AND line = ? AND idx = ?",
            originator, key, partner, rows.line(origins[there]), at,
        ) is None:  # fmt: skip
            named = Named(originator, key)
            place = f"entry {index} of {rows.origin(line)}"
            yield Finding("releases", f"{named} came back from {partner} as {place}, and is on record otherwise")


def _compare_waiting(records: Records) -> Iterator[Finding]:
    """What is held, and what a partner has still to be told of."""
    store, rows = records.store, records.rows
    for held in store.each_held():
        rows.add("waiting", "held", held.originator, held.report_id, held.partner, held.due_ns)
    for untold in store.each_untold():
        rows.add("waiting", "untold", untold.originator, untold.report_id, untold.partner, 0)
    rows.do(
        "INSERT INTO waiting SELECT 'due', h.originator, h.report_id, h.partner, l.due_ns"
        f" FROM (SELECT DISTINCT originator, report_id, partner FROM decision WHERE {_HELD}) AS h"
        " JOIN decision AS l ON l.n = (SELECT max(n) FROM decision AS m WHERE (m.originator, m.report_id, m.partner) ="
        f"  (h.originator, h.report_id, h.partner)) WHERE l.{_HELD}"
    )
    for originator, key, partner, due_ns in _unlike(records, "held", "due"):
        named = Named(originator, key)
        yield Finding("held", f"whether {named.report_id} is held for {partner} until {due_ns} is wrong on record")
    for report in store.each_recalled():
        rows.add("ended", "", *report)
    for received in store.each_ended():
        rows.add("ended", *received)
    rows.do(
        "INSERT INTO waiting SELECT DISTINCT 'owed', e.originator, e.report_id, d.partner, 0 FROM ended AS e"
        f" JOIN decision AS d ON (d.originator, d.report_id) = (e.originator, e.report_id) AND d.{_RELEASED}"
        " WHERE NOT EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id, t.partner) ="
        "  (d.originator, d.report_id, d.partner))"
    )
    if records.given_back:
        # Whoever else had what was withdrawn from one is owed that as well.
        rows.do(
            "INSERT INTO waiting SELECT DISTINCT 'owed', o.originator, o.report_id, o.partner, 0 FROM on_record AS o"
            " WHERE EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id) = (o.originator, o.report_id))"
            " AND NOT EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id, t.partner) ="
            "  (o.originator, o.report_id, o.partner))"
        )
        rows.do(
            "INSERT INTO waiting SELECT DISTINCT 'owed', e.originator, e.report_id, r.partner, 0 FROM ended AS e"
            " JOIN returned AS r ON (r.originator, r.report_id) = (e.originator, e.report_id)"
            " WHERE NOT EXISTS (SELECT 1 FROM told AS t WHERE (t.originator, t.report_id, t.partner) ="
            "  (r.originator, r.report_id, r.partner))"
        )
    for originator, key, partner, _ in _unlike(records, "untold", "owed"):
        named = Named(originator, key)
        yield Finding("untold", f"whether {partner} has still to be told of {named.report_id} is wrong on record")


def _unlike(records: Records, one: str, other: str) -> Iterator[tuple[str, bytes, str, int]]:
    each = "SELECT originator, report_id, partner, due_ns FROM waiting WHERE kind = ?"
    yield from records.rows.rows(
        f"SELECT * FROM ({each} EXCEPT {each}) UNION ALL SELECT * FROM ({each} EXCEPT {each}) ORDER BY 1, 2, 3",
        one, other, other, one,
    )  # fmt: skip


def _compare_reports(records: Records) -> Iterator[Finding]:
    store, rows = records.store, records.rows
    expected = 1
    for row in store.each_report():
        yield from _missing(expected, row.seq)
        expected = row.seq + 1
        rows.add("kept", row.report_id)
        yield from _compare_report(records, row)
    rows.do("DELETE FROM recalled WHERE report_id IN uncertain")
    rows.do("INSERT OR IGNORE INTO spoilt SELECT report_id FROM uncertain")
    for key, *_ in rows.rows(
        "SELECT report_id FROM (SELECT e.report_id, e.time_ns FROM ended AS e WHERE e.originator = ''"
        " AND e.report_id NOT IN spoilt EXCEPT SELECT report_id, time_ns FROM recalled)"
        " UNION SELECT report_id FROM (SELECT report_id, time_ns FROM recalled EXCEPT SELECT report_id, time_ns"
        " FROM ended WHERE originator = '') ORDER BY 1"
    ):
        yield Finding("reports", f"{Named('', key)}: whether it was recalled is wrong on record")
    own = "SELECT DISTINCT report_id FROM record WHERE originator = ''"
    for (key,) in rows.rows(f"{own} EXCEPT SELECT report_id FROM kept"):
        yield Finding("reports", f"{Named('', key)} was decided, and is not kept")
    count, decided = store.counts().reports, rows.number(f"SELECT count(*) FROM ({own})")
    if count != decided:
        yield Finding("reports", f"{count} are kept, and {DECISIONS} holds records of {decided}")


def _missing(first: int, end: int) -> Iterator[Finding]:
    for number in range(first, min(end, first + NAMED)):
        yield Finding("reports", f"number {number} is missing")
    if end > first + NAMED:
        yield Finding("reports", f"numbers {first + NAMED} to {end - 1} are missing")


def _compare_report(records: Records, row: ReportRow) -> Iterator[Finding]:
    rows = records.rows
    report_id = str(uuid.UUID(bytes=row.report_id))
    subject = records.subject(row.report_id)
    if subject is None:
        yield Finding("reports", f"{report_id} is kept, and {DECISIONS} holds no record of it")
        rows.add("spoilt", row.report_id)
        return
    found = (row.decision, row.digest, row.event_id, row.submitted_by, row.accepted_ns, row.kind)
    if found != (
        subject.entry, subject.digest, subject.event_id, subject.submitted_by, subject.time_ns, subject.kind_number
    ):  # fmt: skip
        yield Finding("reports", f"{report_id} is kept otherwise than its decision describes it")
    if subject.rebuilt and not row.payload and row.pruned_ns is not None:
        # It is known again, and has not been submitted again: there is no content to compare.
        rows.add("lost", row.report_id)
        rows.add("spoilt", row.report_id)
        return
    gone = rows.row("SELECT time_ns FROM gone_report WHERE seq = ?", row.seq)
    if row.pruned_ns != (None if gone is None else gone[0]):
        yield Finding("reports", f"{report_id}: whether it was pruned is wrong on record")
    try:
        payload = records.signatory.storage.open(row.payload, row.report_id)
        if row.pruned_ns is None and hashlib.sha256(payload).digest() != subject.digest:
            yield Finding("reports", f"{report_id}: its decision names another content than is kept")
            rows.add("spoilt", row.report_id)
            return
        report = report_pb2.Report.FromString(payload)
    except (SealError, DecodeError) as error:
        yield Finding("reports", f"{report_id}: its payload does not open: {error}")
        rows.add("spoilt", row.report_id)
        return
    if row.pruned_ns is not None and not _is_envelope(report, row, subject):
        yield Finding("reports", f"{report_id}: what is kept of it is not its envelope")
        rows.add("spoilt", row.report_id)
        return
    if row.kind in WARNINGS:
        rows.add("warning", row.event_id, subject.traffic_class, row.report_id)
    _note_recalled(records, row, report)


def _note_recalled(records: Records, row: ReportRow, report: report_pb2.Report) -> None:
    """The reports that no longer stand because of `report`, with the first time at which that was so."""
    recalled: Iterable[bytes] = ()
    match report.WhichOneof("content"):
        case "correction":
            recalled = [uuid.UUID(each).bytes for each in report.correction.report_ids]
        case "cancellation":
            recalled = [uuid.UUID(each).bytes for each in report.cancellation.report_ids]
        case "all_clear":
            found = records.rows.rows(
                "SELECT report_id FROM warning WHERE event_id = ? AND traffic_class = ?",
                report.event_id, report.traffic_class,
            )  # fmt: skip
            recalled = (key for (key,) in found)
    if row.report_id in records.by_time:
        for key in recalled:
            records.rows.do("INSERT OR IGNORE INTO uncertain VALUES (?)", key)
        return
    for key in recalled:
        records.rows.do("INSERT OR IGNORE INTO recalled VALUES (?, ?)", key, row.accepted_ns)


def _is_envelope(kept: report_pb2.Report, row: ReportRow, subject: Subject) -> bool:
    """Whether what is kept of a pruned report is its envelope."""
    kind = kind_of(kept)
    found = (
        kept.report_id, kept.event_id, kept.traffic_class, kept.precedence, None if kind is None else kind.report_kind
    )  # fmt: skip
    return kept == envelope(kept) and found == (
        str(uuid.UUID(bytes=row.report_id)), row.event_id, subject.traffic_class, subject.precedence, row.kind
    )  # fmt: skip


def _compare_foreign(records: Records) -> Iterator[Finding]:
    """Decisions on other nodes' reports."""
    rows = records.rows
    for originator, key, digest, submitted_by, rebuilt, _ in rows.rows(
        "SELECT originator, report_id, digest, submitted_by, rebuilt, min(n) FROM record WHERE originator != ''"
        " GROUP BY originator, report_id"
    ):
        named = Named(originator, key)
        place, _, at = submitted_by.rpartition(" ")
        brought = None
        if at.isdecimal() and len(at) < 19:
            brought = rows.row(
                "SELECT originator, report_id, digest FROM brought WHERE line = ? AND idx = ?",
                rows.line(place),
                int(at),
            )
        if brought is None and rebuilt:
            # The replica was lost with the store, and its owner may not hold it any more.
            continue
        if brought is None or (brought[0], brought[1]) != named or brought[2] not in (None, digest):
            yield Finding("reports", f"{named} was decided as {submitted_by}, and that entry does not hold it")
