"""Checks a store from scratch: believes nothing but entries and keys, rebuilds the rest and compares. In order:

1. The file itself is whole, and every row belongs to a ledger that is there.
2. Every ledger, own or replica, is what its entries and its signatures give (`gateway.audit.examining`). The decisions
   ledger comes first: it says which entries of the others were pruned, and which keys this node had.
3. The own witness ledger shows that this node did not run on in silence (`gateway.audit.witnessed`).
4. Generations of a ledger follow one another: all but the last have ended, and name the next. An own one that has
   ended goes on with everything above its receipts.
5. Ledgers agree with one another, and with the records beside them (`gateway.audit.copies`, `gateway.audit.comparing`).

So that memory hardly grows with what is checked, everything is read once and in order, and what is compared later is
gathered on disk (`gateway.audit.gathered`); a few numbers a decision and release stay in memory
(`gateway.audit.timeline`). Of findings in one place the first NAMED are told, and how many more there are.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.audit.comparing import compare
from gateway.audit.examining import examine
from gateway.audit.gathered import Gathered
from gateway.audit.key_history import KnownKeys
from gateway.audit.ledger_check import Examined, LedgerCheck
from gateway.audit.records import Finding, Records
from gateway.audit.witnessed import WitnessCheck
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.release.key_switch import keys_on_record
from gateway.release.opening import Opener
from gateway.release.signatory import Partner, Signatory

NAMED: Final = 1000
"""Findings of one place that are told one by one. Where every row of a table is gone there are as many as rows."""

_WITNESS_LEDGER: Final = "witness ledger"
"""Where a finding is that is about all of its generations."""


@dataclass(slots=True)
class Verification:
    """The outcome: sound if there are no findings."""

    ledgers: list[LedgerCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    reports: int = 0
    released: int = 0
    withheld: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify_store(
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None] = lambda _: None,
    own: Partner | None = None,
) -> Verification:
    """Checks everything that `store` holds. `partners` are the partners whose keys are known, and `own` are the keys of
    this node's own bundle, where it has one.
    """
    outcome = Verification()
    more: Counter[str] = Counter()
    told: Counter[str] = Counter()
    with contextlib.closing(Gathered()) as rows:
        try:
            for finding in _findings(outcome, store, signatory, partners, progress, own, rows):
                told[finding.where] += 1
                if told[finding.where] <= NAMED:
                    outcome.findings.append(finding)
                else:
                    more[finding.where] += 1
        except LedgerError as error:
            # What cannot be read ends the check; what was found before stands.
            outcome.findings.append(Finding("store", str(error)))
        except (TypeError, ValueError) as error:
            # Damaged pages hold values of any kind, whatever the schema says.
            if not told["store"]:
                raise
            outcome.findings.append(Finding("store", f"what is damaged cannot be read: {error}"))
    outcome.findings.extend(Finding(where, f"{count} more findings") for where, count in more.items())
    return outcome


def _findings(
    outcome: Verification,
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None],
    own: Partner | None,
    gathered: Gathered,
) -> Iterator[Finding]:
    progress("the file")
    yield from (Finding("store", what) for what in store.damage())
    signatory = signatory.using(keys_on_record(store))
    keys = {node: KnownKeys.of_partner(partner) for node, partner in partners.items()}
    keys[signatory.node] = KnownKeys.of_own(signatory, own)
    records = Records(store, signatory, Opener(signatory.node, signatory.sealing), gathered)
    witness = WitnessCheck(store, lambda: records.clock_declared)
    rows = store.ledgers()
    # The decisions first: they say which entries of the others were pruned.
    for row in sorted(rows, key=lambda each: each.origin.lane != DECISIONS):
        progress(f"{row.origin}: {row.size} entries")
        check = LedgerCheck(row.origin, row.replica)
        outcome.ledgers.append(check)
        ledger = Examined(row, check, records, witness, keys, partners)
        yield from (Finding(str(row.origin), what) for what in examine(ledger))
    yield from (Finding(_WITNESS_LEDGER, what) for what in witness.whole())
    yield from _generations(rows, records)
    progress("decisions, releases and reports")
    yield from compare(records)
    outcome.reports, outcome.released, outcome.withheld = records.counts()


def _generations(rows: Sequence[LedgerRow], records: Records) -> Iterator[Finding]:
    lines: dict[tuple[str, str | None, str], dict[int, LedgerRow]] = {}
    for row in rows:
        origin = row.origin
        lines.setdefault((origin.owner, origin.recipient, origin.lane), {})[origin.generation] = row
    for line in lines.values():
        last = max(line)
        for generation, row in sorted(line.items()):
            # A partner's ledger may have ended before anything of its successor came.
            ended = generation < last or (row.replica and row.successor is not None)
            if row.successor != (row.origin.successor() if ended else None):
                yield Finding(str(row.origin), f"its successor on record ({row.successor}) is not what the store holds")
            elif ended and not row.replica and row.agreed not in (
                records.agreed.get(row.origin.successor(), row.agreed), records.confirmed.get(row.origin)
            ):  # fmt: skip
                yield Finding(str(row.origin), f"its successor says that not {row.agreed} entries were confirmed")
        if len(line) != last:
            yield Finding(str(line[last].origin), f"of its {last} generations {len(line)} are kept")
