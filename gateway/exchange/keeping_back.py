"""Entries that were released and not sent yet, and may not go any more.

A partner may be suspended, or an agreement may lapse, while entries wait for the partner's connection. They are on
record and part of signed checkpoints, so the ledger cannot lose them: they are served as their hashes, each with this
node's signed reason. The ledger stays whole; the content stays here. Rules, in order:

1. A suspended partner is given every entry as its hash, openings of epochs and withdrawals among them.
2. A release that cites an agreement is given as its hash while that agreement is not in force.
3. What is kept back is put on record in the decisions ledger before it is served.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from gateway.ledger import bundle
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import AbsentRow, LedgerRow, Run, StoreReader
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Signatory

SUSPENDED = "the partner is suspended"


def reasons(
    reader: StoreReader, row: LedgerRow, run: Run, rulebook: Rulebook, now: datetime, *, clock_trusted: bool
) -> Mapping[int, str]:
    """Why entries of a run may not go, by index; empty where all may."""
    if row.origin.recipient in rulebook.suspended:
        return dict.fromkeys(range(run.first, run.first + run.count), SUSPENDED)
    lapsed: dict[str, bool] = {}
    found = {}
    for release in reader.released_between(row.id, run.first, run.first + run.count):
        agreement = release.agreement
        if agreement and agreement not in lapsed:
            lapsed[agreement] = not rulebook.in_force(agreement, now, clock_trusted=clock_trusted)
        if agreement and lapsed[agreement]:
            found[release.index] = f"the agreement {agreement} is not in force"
    return found


def without(run: Run, why: Mapping[int, str], origin: Origin, ledger: LedgerRow, signatory: Signatory) -> Run:
    """The run with these entries given as their hashes, each with a signed reason."""
    entries = bundle.decode(run.entries, run.count, allow_absent=True)
    absent = list(run.absent)
    for index, reason in why.items():
        entry = entries[index - run.first]
        if not entry:
            continue
        leaf = leaf_hash(entry)
        note = EntryStatement(EntryStatementKind.ABSENT, signatory.node, origin, index, leaf, reason)
        absent.append(AbsentRow(ledger.id, index, leaf, note.sign(signatory.gateway)))
        entries[index - run.first] = b""
    absent.sort(key=lambda each: each.index)
    return replace(run, entries=bundle.encode(entries, allow_absent=True), absent=absent)


def in_words(why: Mapping[int, str], origin: Origin) -> str:
    """What is kept back, in a sentence for the record: which entries of which ledger, and why."""
    counts: dict[str, int] = {}
    for reason in why.values():
        counts[reason] = counts.get(reason, 0) + 1
    told = "; ".join(f"{count} because {reason}" for reason, count in sorted(counts.items()))
    which = f"entry {min(why)} is" if len(why) == 1 else f"entries {_ranges(why)} are"
    return f"{origin}: {which} served as hash alone: {told}"


def places_in(words: str) -> tuple[str, frozenset[int]]:
    """The origin line and the indices of which `in_words` speaks. Raises ValueError for anything else."""
    found = _TOLD.match(words)
    if found is None:
        raise ValueError(f"this does not say which entries are kept back: {words}")
    indices: set[int] = set()
    for part in found["entries"].split(", "):
        first, _, last = part.partition(" to ")
        indices.update(range(int(first), int(last or first) + 1))
    return found["origin"], frozenset(indices)


_TOLD: Final = re.compile(
    r"(?P<origin>\S+): entr(?:y|ies) (?P<entries>\d+(?: to \d+)?(?:, \d+(?: to \d+)?)*)"
    r" (?:is|are) served as hash alone: "
)


def _ranges(indices: Iterable[int]) -> str:
    """Numbers in order, runs of them as their ends: "3, 5 to 9"."""
    runs: list[tuple[int, int]] = []
    for index in sorted(indices):
        if runs and runs[-1][1] == index - 1:
            runs[-1] = runs[-1][0], index
        else:
            runs.append((index, index))
    return ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in runs)
