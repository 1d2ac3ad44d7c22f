"""Entries that were released and not sent yet, and may not go any more: what is kept back, and put on record.

A partner may be suspended, or an agreement may lapse, while entries wait for the partner's connection. They are part of
signed checkpoints, so the ledger cannot lose them: they are served as their hashes, each with this node's signed
reason. The ledger stays whole; the content stays here. Rules, in order:

1. What was kept back once is kept back for ever, and served with the reason that was signed then.
2. Of a ledger that has ended, everything above what was confirmed is kept back: it goes on in the successor.
3. While no policy is in force, or none is believed, nothing is known of suspensions and agreements: nothing is kept
   back, and nothing goes.
4. Of a suspended partner everything is kept back, openings of epochs and withdrawals among them.
5. What is sealed in an epoch whose opening was kept back is kept back as well: it could not be opened.
6. A release that cites an agreement is kept back where the policy no longer has that agreement, or its days are over.
   Whether they are, a clock that is not trusted cannot say: nothing is kept back for it then, and nothing goes.

A withdrawal that is kept back has not been told: in the same commit it waits again (`untold`), and goes out once the
partner can be told. One that is kept back by rule 2 stands in the successor.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from gateway.ledger import bundle
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import KeptBackRow, LedgerRow, Run, StoreReader
from gateway.release.moving import GOES_ON
from gateway.release.opening import Opener
from gateway.release.plan import Plan, time_of
from gateway.release.ranks import Rank, rank_of_lane
from gateway.release.rulebook import Rulebook
from gateway.release.sharing import can_be_told, record_untold
from gateway.release.subject import Subject
from gateway.seal.entry import EntryKind, parse_header
from gateway.seal.errors import SealError

log = logging.getLogger(__name__)

SUSPENDED: Final = "the partner is suspended"
NOT_OPENED: Final = "what opens it was kept back"
NO_POLICY: Final = "no release policy is in force"
NO_CLOCK: Final = "the clock is not trusted, and what waits rests on an agreement"

KEPT_A_COMMIT: Final = 256
"""Entries that one step keeps back: each is signed and, for withdrawals among them, opened, while others wait."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may become of a run of entries now."""

    on_record: Sequence[KeptBackRow]
    """What was kept back of it before."""
    new: Mapping[int, str] = field(default_factory=dict)
    """What has to be kept back besides, and is not on record yet: the reason by index."""
    doubt: str = ""
    """Why nothing of it can go now, in words; empty where that is not so."""


def judge(
    reader: StoreReader, row: LedgerRow, run: Run, rulebook: Rulebook, now: datetime, *, clock_trusted: bool
) -> Verdict:
    """Judges a run of the own ledger `row` by the rules above."""
    end = run.first + run.count
    # Of most ledgers nothing ever is: then no opening is either, and no entry has to be looked at for it.
    some = reader.keeps_back(row.id)
    on_record = reader.kept_back(row.id, run.first, end) if some else []
    settled = {each.index for each in on_record} | {each.index for each in run.absent}
    left = [index for index in range(run.first, end) if index not in settled]
    new: dict[int, str] = {}
    if row.successor is not None:
        new |= {index: f"{GOES_ON}{row.successor}" for index in left if index >= (row.agreed or 0)}
    left = [index for index in left if index not in new]
    if not left:
        return Verdict(on_record, new)
    if rulebook.policy is None:
        return Verdict(on_record, new, NO_POLICY)
    if row.origin.recipient in rulebook.suspended:
        return Verdict(on_record, new | dict.fromkeys(left, SUSPENDED))
    if some or new or run.absent:
        new |= dict.fromkeys(_closed(reader, row, run, left, settled | new.keys()), NOT_OPENED)
    doubt = ""
    lapses: dict[str, bool | None] = {}
    for index, agreement in reader.cited_between(row.id, run.first, end):
        if index in settled or index in new:
            continue
        if agreement not in lapses:
            lapses[agreement] = rulebook.lapsed(agreement, now, clock_trusted=clock_trusted)
        lapsed = lapses[agreement]
        if lapsed is None:
            doubt = NO_CLOCK
        elif lapsed:
            new[index] = f"the agreement {agreement} is not in force"
    return Verdict(on_record, new, doubt)


def _closed(reader: StoreReader, row: LedgerRow, run: Run, left: Sequence[int], kept: Iterable[int]) -> Iterator[int]:
    """Those of `left` that are sealed in an epoch whose opening is kept back; `kept` are the entries of the run."""
    entries = bundle.decode(run.entries, run.count, allow_absent=True)
    known = dict.fromkeys(kept, True)
    for index in left:
        header = parse_header(entries[index - run.first])
        if header.kind is EntryKind.EPOCH_OPENING:
            continue
        if header.epoch not in known:
            known[header.epoch] = bool(reader.kept_back(row.id, header.epoch, header.epoch + 1))
        if known[header.epoch]:
            yield index


@dataclass(frozen=True, slots=True)
class KeepBack:
    """Puts on record what of a durable run may not go any more, under the policy in force at this very commit.

    Up to KEPT_A_COMMIT entries: whoever sends asks again until nothing is new.
    """

    origin: Origin
    run: Run
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane."""
        return rank_of_lane(self.origin)

    def apply(self, plan: Plan) -> int:
        """Signs and records. Returns how many entries were added."""
        row = plan.store.ledger(self.origin)
        if row is None or self.origin in plan.ledgers.ended:
            # One that ends in this very commit is judged once it has: what goes on in the successor is known then.
            return 0
        verdict = judge(
            plan.store, row, self.run, plan.rulebook, time_of(plan.now_ns), clock_trusted=plan.clock_trusted
        )
        already = plan.ledgers.kept_back(row.id, self.run.first, self.run.first + self.run.count)
        why = dict(sorted((index, reason) for index, reason in verdict.new.items() if index not in already))
        why = {index: why[index] for index in list(why)[:KEPT_A_COMMIT]}
        if not why:
            return 0
        entries = bundle.decode(self.run.entries, self.run.count, allow_absent=True)
        for index, reason in why.items():
            leaf = leaf_hash(entries[index - self.run.first])
            note = EntryStatement(
                EntryStatementKind.ABSENT, plan.signatory.node, self.origin, index, leaf, reason
            ).sign(plan.signatory.gateway)
            plan.ledgers.keep_back(KeptBackRow(row.id, index, reason, note))
        plan.record_event("entries-kept-back", in_words(why, self.origin))
        self._wait_to_be_told(plan, row, {index: entries[index - self.run.first] for index in why})
        return len(why)

    def _wait_to_be_told(self, plan: Plan, row: LedgerRow, kept: Mapping[int, bytes]) -> None:
        partner, count = self.origin.recipient, 0
        assert partner is not None  # only a recipient asks for a ledger
        for subject in _withdrawals(plan, row, kept):
            plan.untold.record_not_told(subject, partner)
            count += 1
        if count and not can_be_told(plan, partner):
            record_untold(plan, partner, count)


def _withdrawals(plan: Plan, row: LedgerRow, kept: Mapping[int, bytes]) -> Iterator[Subject]:
    """What the withdrawals among these entries are of, without those that stand in the ledger's successor."""
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    for index, entry in kept.items():
        if row.successor is not None and index >= (row.agreed or 0):
            continue
        try:
            content = opener.content(row.origin, index, entry, lambda at: plan.store.entry(row.id, at) or b"")
        except SealError as error:
            log.critical("%s: entry %d is kept back, and whether it withdraws a report is not known: %s",
                         row.origin, index, error)  # fmt: skip
            continue
        if content is not None and content.HasField("withdrawal"):
            withdrawal = content.withdrawal
            yield Subject(withdrawal.originator_node, uuid.UUID(withdrawal.report_id).bytes)


# --- in words


def in_words(why: Mapping[int, str], origin: Origin) -> str:
    """What is kept back, in a sentence for the record: which entries of which ledger, and why."""
    counts: dict[str, int] = {}
    for reason in why.values():
        counts[reason] = counts.get(reason, 0) + 1
    told = "; ".join(f"{count} because {reason}" for reason, count in sorted(counts.items()))
    which = f"entry {min(why)} is" if len(why) == 1 else f"entries {ranges(why)} are"
    return f"{origin}: {which} served as hash alone: {told}"


def places_in(words: str) -> tuple[str, frozenset[int]]:
    """The origin line and the indices of which `in_words` speaks. Raises ValueError for anything else."""
    found = _TOLD.match(words)
    if found is None:
        raise ValueError(f"this does not say which entries are kept back: {words}")
    return found["origin"], numbers_in(found["entries"])


RANGES: Final = r"\d+(?: to \d+)?(?:, \d+(?: to \d+)?)*"
"""What `ranges` gives, as a pattern."""

_TOLD: Final = re.compile(rf"(?P<origin>\S+): entr(?:y|ies) (?P<entries>{RANGES}) (?:is|are) served as hash alone: ")


def numbers_in(words: str) -> frozenset[int]:
    """The numbers that `ranges` gave as these words."""
    numbers: set[int] = set()
    for part in words.split(", "):
        first, _, last = part.partition(" to ")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def ranges(indices: Iterable[int]) -> str:
    """Numbers in order, runs of them as their ends: "3, 5 to 9"."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1] = runs[-1][0], index
        else:
            runs.append((index, index))
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)
