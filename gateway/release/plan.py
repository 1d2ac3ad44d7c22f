"""A commit in preparation: what the steps of the way fill, and what the sequencer then makes durable.

A plan changes nothing outside itself. What it holds counts only once its commit is durable; a plan that is thrown away
leaves no trace but the epochs it used, which must then be forgotten (`Heads.without_epochs`).

What it is made of is in the room `planned`: each part is what the store holds with what this plan adds to it. All parts
fill the same `Commit`, and `finish` completes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, DecisionPlace, FeedRow, StoreReader
from gateway.release.heads import Heads
from gateway.release.planned.all_clears import AllClears
from gateway.release.planned.arrivals import Arrivals
from gateway.release.planned.holds import Holds
from gateway.release.planned.ledgers import Ledgers
from gateway.release.planned.own_reports import OwnReports
from gateway.release.planned.put_off import PutOff
from gateway.release.planned.releases import Releases
from gateway.release.planned.untold import Untold
from gateway.release.recovery.records import Recording, Recovery
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.release.subject import Subject
from gateway.release.verdicts import Indexing, Verdict, Verdicts
from gateway.reports.identifiers import in_bytes
from gateway.reports.kinds import Kind
from policy.decision import Circumstances
from policy.transform import refers_to

LATEST_TIME: Final = "latest time"
"""Key of the store's own value that holds the newest time at which the clock was trusted, nanoseconds since 1970, 8
bytes: what a clock that is set back over a restart is noticed by."""

_KINDS: Final = frozenset(int(kind.report_kind) for kind in Kind)
"""All of them, as the store has them."""


class FeedEntry(NamedTuple):
    """A row of the feed with its content, for subscribers who are listening now."""

    row: FeedRow
    content: report_pb2.Report | ledger_pb2.Withdrawal
    withdrawn: bool = False


class Plan:
    """Everything that one commit will hold, and what follows from it once it is durable."""

    def __init__(
        self,
        heads: Heads,
        store: StoreReader,
        signatory: Signatory,
        partners: Mapping[str, Partner],
        now_ns: Callable[[], int],
        rulebook: Rulebook,
        *,
        verdicts: Verdicts,
        clock_trusted: bool = True,
        partners_shown: bool = True,
        recovery: Recovery | None = None,
    ) -> None:
        self.heads = heads
        """The durable ones."""
        self.store = store
        self.signatory = signatory
        self.partners = partners
        """The partners with keys in force, by name."""
        self.recipients = partners.keys() - waiting_for(store)
        """Those of them that can be told something. Not those whose ledgers wait to be set back: what was sealed to
        them before that would stand in a generation of which they may hold another history."""
        self._rulebook = rulebook
        self._circumstances: Circumstances | None = None
        self.clock_trusted = clock_trusted
        self.partners_shown = partners_shown
        """Whether partners have shown since the start what they hold of this node's ledgers, all of them. Until they
        have, this store may be an older copy, and what is not known may have been lost."""
        self.now_ns = now_ns()
        self.now = Timestamp()
        """The same as a message."""
        self.now.FromNanoseconds(self.now_ns)
        self._set_back: bool | None = None
        self.commit = Commit()
        self.ledgers = Ledgers(heads, store, self.commit, signatory, partners)
        self.own_reports = OwnReports(store, self.commit, signatory)
        self.all_clears = AllClears(store, self.commit)
        self.arrivals = Arrivals(store, self.commit)
        self.releases = Releases(store, self.commit, self.now_ns)
        self.holds = Holds(store, self.commit)
        self.untold = Untold(store, self.commit)
        self.put_off = PutOff(store, self.commit)
        self.feed: list[FeedEntry] = []
        self._next_feed = store.last_feed() + 1
        self._indexing = Indexing(verdicts, signatory.storage, self.commit)
        self._identifiers: dict[str, tuple[bytes, dict[bytes, None]]] = {}
        self.recording = None if recovery is None else Recording(recovery)

    # --- under which policy, with which keys, on which store

    @property
    def rulebook(self) -> Rulebook:
        """The policy in force for the steps that follow."""
        return self._rulebook

    def govern(self, rulebook: Rulebook) -> None:
        """Puts another policy in force, from the next step on."""
        if rulebook.suspended != self._rulebook.suspended:
            # A suspended partner is given hashes, of the openings of epochs as well: what is sealed to him later must
            # not need one of those.
            self.ledgers.renew_epochs()
        self._rulebook = rulebook
        self._circumstances = None

    def circumstances(self, accepted_ns: int) -> Circumstances:
        """What a decision of this plan depends on beside the report, which was accepted then, and the policy."""
        known = self._circumstances
        if known is None:
            now = time_of(self.now_ns)
            known = self._rulebook.circumstances(now, now, clock_trusted=self.clock_trusted)
            self._circumstances = known
        return known if accepted_ns == self.now_ns else replace(known, accepted=time_of(accepted_ns))

    def use(self, signatory: Signatory) -> None:
        """Signs this commit with other keys of this node (`gateway.release.key_switch`)."""
        self.signatory = self.ledgers.signatory = self.own_reports.signatory = signatory

    def admit(self, partner: str) -> None:
        """A partner with keys can be told something from here on: its ledgers are set back in this plan."""
        self.recipients |= {partner}

    @property
    def was_set_back(self) -> bool:
        """Whether an own ledger has ever ended, so that something may have come back of it."""
        if self._set_back is None:
            self._set_back = any(not head.replica and head.origin.generation > 1 for head in self.heads)
        return self._set_back

    # --- read at once, as each would be asked for alone

    def expect(self, reports: Iterable[report_pb2.Report]) -> None:
        """Reads what is on record of reports that are to be taken, of those that they refer to, and of their events."""
        own: dict[bytes, None] = {}
        events: dict[tuple[int, str], None] = {}
        named: dict[str, dict[bytes, None]] = {}
        for report in reports:
            own[in_bytes(report.report_id)] = None
            events[report.traffic_class, report.event_id] = None
            for originator, report_id in refers_to(report):
                if originator and report_id:
                    by = "" if originator == self.signatory.node else originator
                    named.setdefault(by, {})[in_bytes(report_id)] = None
        self.own_reports.expect(list(own))
        self.all_clears.expect(list(events))
        for originator, of_it in named.items():
            self.releases.expect(originator, of_it)

    def foresee(self, event_id: str, subjects: Sequence[Subject]) -> None:
        """Reads what is on record of these own reports about an event."""
        found = self.store.of_event(event_id)
        if self.was_set_back:
            # What came back of a report that is not known yet, or only in this plan, is found under no event.
            known = set(self.store.reports_of_event(event_id, _KINDS))
            subjects = [subject for subject in subjects if subject.report_id in known]
        self.releases.foresee(subjects, found.released)
        self.holds.foresee(subjects, found.held)
        self.untold.foresee(subjects, found.untold)

    # --- what subscribers receive

    def next_feed(self) -> int:
        """Number for the next row of the feed."""
        self._next_feed += 1
        return self._next_feed - 1

    def publish(self, entry: FeedEntry) -> None:
        """Adds to what subscribers receive."""
        self.commit.feed.append(entry.row)
        self.feed.append(entry)

    # --- the record of this node

    def record_event(self, kind: str, detail: str, evidence: Sequence[bytes] = ()) -> int:
        """Records something that the node did or met, in its decisions ledger. Returns the index of the record."""
        event = ledger_pb2.NodeEvent(kind=kind, detail=detail, evidence=evidence)
        event.time.FromNanoseconds(self.now_ns)
        writer = self.ledgers.decisions()
        index = writer.append(ledger_pb2.EntryContent(node_event=event).SerializeToString())
        self._indexing.event(DecisionPlace(self.now_ns, writer.head.id, index), kind)
        return index

    def index_decisions(
        self, index: int, record: ledger_pb2.DecisionRecord, decisions: Sequence[ledger_pb2.Decision], *, first: bool
    ) -> None:
        """Puts an entry of the decisions ledger in the index. `record` holds its subject; `first` says that
        `ReportRow.decision` names the entry.
        """
        head = self.ledgers.decisions().head
        place = DecisionPlace(self.now_ns, head.id, index)
        self._indexing.decisions(self.signatory.node, head.origin, place, record, decisions, first=first)

    @property
    def given_verdicts(self) -> Mapping[Verdict, int]:
        """Numbers of the index of decisions that this plan gives out."""
        return self._indexing.given

    def identifiers(self, key: str) -> dict[bytes, None]:
        """A set of identifiers, 16 bytes each, that is a value of the store's own, in the order in which they came.

        It is the caller's to change: it is read once a plan, and what has become of it is written in `finish`.
        """
        if key not in self._identifiers:
            raw = self.store.meta(key) or b""
            self._identifiers[key] = raw, dict.fromkeys(raw[at : at + 16] for at in range(0, len(raw), 16))
        return self._identifiers[key][1]

    # --- the end

    def finish(self) -> list[tuple[Origin, Note]]:
        """Grows and signs every ledger that was written to. Returns the new checkpoints.

        After this the plan's commit is complete.
        """
        signed = self.ledgers.finish(self.recording)
        if self.recording is not None:
            self.recording.settle()
        self.holds.finish()
        self.arrivals.finish()
        self.put_off.finish()
        for key, (before, kept) in self._identifiers.items():
            raw = b"".join(kept)
            if raw != before:
                self.commit.meta[key] = raw
        return signed

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make durable."""
        return self.commit == Commit()


def time_of(ns: int) -> datetime:
    """Nanoseconds since 1970 as a time, UTC, to the microsecond."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns // 1_000 % 1_000_000)
