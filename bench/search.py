"""How long an officer waits for the first page of a search, over millions of decisions.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/search.py [--decisions 10000000] [--json FILE]``.

A store is filled by the gateway's own way of recording: records of decisions for 16 partners each are sealed, appended,
signed and indexed. Then first pages of 100 entries are asked for with many kinds of filters: common, rare, and such
that find nothing. Each is timed in three ways: as the first search of a process on a file that was put out of the
system's cache; as the first of a process on a cached file; and the median of further ones, of these also the
processor's time, which other work on the machine changes least.

Needs some 250 bytes of disk a decision, in ``--dir``, and takes it away at the end. ``--store FILE`` keeps the store
there, and searches it where it is there already.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from pathlib import Path

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.search import DecisionFilter, DecisionSearch
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.stores import ReportRow
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.heads import Heads
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.rulebook import Rulebook
from gateway.release.sharing import Shared, record_decisions
from gateway.release.signatory import Signatory
from gateway.release.subject import Subject
from gateway.release.verdicts import Verdicts
from gateway.reports.kinds import Kind, kind_of

NATO = ("CAN", "DEU", "ESP", "FRA", "GBR", "GRC", "ITA", "NLD", "NOR", "POL", "SWE", "TUR", "USA")
PARTNERS = ("AUS", "KOR", "NZL", *NATO)
LIMIT = 100
TIMES = 15
RECORDS_A_COMMIT = 64
SECOND = 1_000_000_000
BEGAN = 1_700_000_000 * SECOND
STEP = 50_000_000
"""Nanoseconds between commits."""
RULES = 8
"""Rules that a partner's policy has for each kind of report."""
EVENTS = 20_000
OUTCOMES = (*[ledger_pb2.OUTCOME_RELEASED] * 3, ledger_pb2.OUTCOME_WITHHELD, ledger_pb2.OUTCOME_HELD)
REPORT = uuid.UUID(int=12_345, version=4)


class Filling:
    """A store that is filled as a gateway fills it, with records of decisions that chance makes."""

    def __init__(self, path: Path, signatory: Signatory) -> None:
        self.store = SqliteStore(path)
        self.signatory = signatory
        self.heads = Heads.restore(self.store)
        self.verdicts = Verdicts.restore(self.store, signatory.storage)
        self.chance = random.Random(1)
        self.now_ns = BEGAN
        self.records = self.decisions = 0

    def commit(self) -> None:
        """One commit of RECORDS_A_COMMIT records."""
        self.now_ns += STEP
        plan = Plan(
            self.heads, self.store, self.signatory, {}, lambda: self.now_ns, Rulebook.none(()), verdicts=self.verdicts
        )
        for _ in range(RECORDS_A_COMMIT):
            self.record(plan)
        if self.records % (64 * RECORDS_A_COMMIT) == 0:
            plan.record_event("started" if self.records % 2**17 == 0 else "audit-access", "made for this measurement")
        plan.finish()
        self.store.commit(plan.commit)
        self.heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        self.verdicts.adopt(plan.given_verdicts)

    def record(self, plan: Plan) -> None:
        """The decisions on one report."""
        chance = self.chance
        self.records += 1
        report = report_pb2.Report(
            report_id=str(uuid.UUID(int=self.records, version=4)),
            originator_node="JPN",
            # One report in twenty is about the great event.
            event_id="great" if chance.random() < 0.05 else f"event-{chance.randrange(EVENTS)}",
            traffic_class=chance.choices((1, 2, 3), (90, 9, 1))[0],  # type: ignore[arg-type]  # numbers of the contract
            precedence=chance.choices((1, 2, 3, 4), (1, 4, 15, 80))[0],  # type: ignore[arg-type]
        )
        kind = chance.choices(list(Kind), (20, 60, 14, 3, 2, 1))[0]
        getattr(report, kind.field).SetInParent()
        decisions = [self.decision(partner, kind) for partner in PARTNERS]
        report_id = uuid.UUID(report.report_id).bytes
        shared = Shared(Subject("", report_id), report, plan.now_ns)
        index = record_decisions(plan, shared, "spiffe://jpn/c2/radar", bytes(32), decisions, accepting=True)
        told = kind_of(report)
        assert told is not None
        plan.commit.reports.append(
            ReportRow(
                plan.own_reports.next_number(), report_id, bytes(32), report.event_id, int(told.report_kind), "c2",
                plan.now_ns, index, b"payload",
            )
        )  # fmt: skip
        self.decisions += len(decisions)

    def decision(self, partner: str, kind: Kind) -> ledger_pb2.Decision:
        """What chance decides for a partner: a rule has its outcome and agreement, as a policy would give them."""
        if partner == "KOR" and self.records % 100_000 == 99_999:
            return ledger_pb2.Decision(partner=partner, outcome=ledger_pb2.OUTCOME_WITHHELD, rule="once-in-a-while")
        number = min(int(self.chance.expovariate(0.3)), RULES - 1)
        if number == 0:
            outcome = ledger_pb2.OUTCOME_WITHHELD
            return ledger_pb2.Decision(partner=partner, outcome=outcome, rule="(no rule releases it)")
        return ledger_pb2.Decision(
            partner=partner,
            outcome=OUTCOMES[number % 5],
            rule=f"{kind.value.lower()}-{number}",
            agreement=f"{partner.lower()}-treaty-{number % 2}",
            fields=["event_id", "launch_detection.launch_point", "launch_detection.threat"],
        )


def filters(last_ns: int) -> dict[str, DecisionFilter]:
    """Many kinds of filters, by what they ask for."""
    span = last_ns - BEGAN

    def at(share: float) -> int:
        return BEGAN + int(span * share)

    return {
        "everything": DecisionFilter(),
        "everything of an hour in the middle": DecisionFilter(since_ns=at(0.5), until_ns=at(0.5) + 3600 * SECOND),
        "everything before any": DecisionFilter(until_ns=BEGAN),
        "one partner": DecisionFilter(partners=frozenset({"KOR"})),
        "one partner, withheld": DecisionFilter(partners=frozenset({"KOR"}), outcomes=frozenset({2})),
        "all that is held": DecisionFilter(outcomes=frozenset({3})),
        "a built-in reason": DecisionFilter(rules=frozenset({"(no rule releases it)"})),
        "one rule": DecisionFilter(rules=frozenset({"track-3"})),
        "a rule that decided a few": DecisionFilter(rules=frozenset({"once-in-a-while"})),
        "a rule that decided nothing": DecisionFilter(rules=frozenset({"none-such"})),
        "a kind": DecisionFilter(kinds=frozenset({"AllClear"})),
        "two kinds, FLASH, LIVE, before the middle": DecisionFilter(
            kinds=frozenset({"LaunchDetection", "ImpactPrediction"}), precedences=frozenset({4}),
            traffic_classes=frozenset({1}), until_ns=at(0.5),
        ),
        "a rare combination": DecisionFilter(
            kinds=frozenset({"AllClear"}), precedences=frozenset({1}), traffic_classes=frozenset({3}),
        ),
        "an agreement": DecisionFilter(agreements=frozenset({"usa-treaty-1"})),
        "an agreement that nobody cited": DecisionFilter(agreements=frozenset({"none-such"})),
        "a partner that is none": DecisionFilter(partners=frozenset({"PRT"})),
        "another node's reports, of which there are none": DecisionFilter(originator_node="USA"),
        "one report": DecisionFilter(report_id=str(REPORT)),
        "a report that is not there": DecisionFilter(report_id=str(uuid.UUID(int=1 << 100, version=4))),
        "an event": DecisionFilter(event_id="event-77"),
        "an event with one in twenty of all reports": DecisionFilter(event_id="great"),
        "that event, a rule that decided a few": DecisionFilter(event_id="great", rules=frozenset({"once-in-a-while"})),
        "that event, a partner that is none": DecisionFilter(event_id="great", partners=frozenset({"PRT"})),
        "an event that is not there": DecisionFilter(event_id="none-such"),
        "events of the node": DecisionFilter(events=True),
        "starts of the node": DecisionFilter(events=True, event_kinds=frozenset({"started"})),
    }  # fmt: skip


def first_page(
    path: Path, signatory: Signatory, wanted: DecisionFilter, times: int, *, cold: bool
) -> tuple[list[float], list[float], int]:
    """Seconds, and of them the processor's, of `times` searches by a reader that had read nothing before; and how many
    entries the page has.
    """
    if cold:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    took: list[float] = []
    worked: list[float] = []
    reader = SqliteReader(path)
    search = DecisionSearch(reader, Opener("JPN", signatory.sealing), signatory)
    for turn in range(times):
        began, began_work = time.perf_counter(), time.process_time()
        page = search.page(wanted, limit=LIMIT, token=b"", oldest_first=turn % 2 == 1)
        took.append(time.perf_counter() - began)
        worked.append(time.process_time() - began_work)
    reader.close()
    return took, worked, len(page.entries)


def keys(path: Path) -> Signatory:
    """The keys of a store: beside it, so that a store that was kept can be searched."""
    where = path.with_suffix(".seeds")
    made = NodeKeys.generate(gateway_key_pem=b"", gateway_certificate_pem=b"")
    fields = ("log_seed", "receipt_seed", "pq_seed", "sealing_mlkem768_seed", "sealing_x25519_private", "storage_key")
    if not where.exists():
        where.write_text("\n".join(getattr(made, name).hex() for name in fields))
    seeds = [bytes.fromhex(line) for line in where.read_text().split()]
    return Signatory.from_keys(
        "JPN", NodeKeys(gateway_key_pem=b"", gateway_certificate_pem=b"", **dict(zip(fields, seeds, strict=True)))
    )


def fill(path: Path, signatory: Signatory, decisions: int) -> dict[str, float]:
    """Fills the store."""
    filling = Filling(path, signatory)
    began = told = time.monotonic()
    while filling.decisions < decisions:
        filling.commit()
        if time.monotonic() - told > 10:
            told = time.monotonic()
            rate = filling.decisions / (told - began)
            print(f"  {filling.decisions:,} of {decisions:,} decisions, {rate:,.0f} a second", file=sys.stderr)
    filling.store.close()
    return {"decisions": filling.decisions, "records": filling.records, "fill_seconds": time.monotonic() - began}


def main() -> None:
    """Fills and searches, and writes a table and, where asked for, JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--decisions", type=int, default=10_000_000)
    parser.add_argument("--dir", default=None, help="where the store is made; by default the system's temporary files")
    parser.add_argument("--store", default=None, help="a store that is kept")
    parser.add_argument("--json", default=None, help="also write the results to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.dir) as directory:
        path = Path(asked.store or Path(directory) / "search.sqlite")
        there = path.exists()
        signatory = keys(path)
        about: dict[str, float] = {} if there else fill(path, signatory, asked.decisions)
        began = time.perf_counter()
        store = SqliteStore(path)
        Heads.restore(store)
        verdicts = Verdicts.restore(store, signatory.storage)
        about["open_ms"] = (time.perf_counter() - began) * 1e3
        about["verdicts"] = len(list(verdicts))
        about["file_mb"] = path.stat().st_size / 1e6
        everything = DecisionSearch(store, Opener("JPN", signatory.sealing), signatory)
        newest = everything.page(DecisionFilter(), limit=1, token=b"", oldest_first=False).entries[0]
        last_ns = newest.decision_record.time.ToNanoseconds()
        store.close()
        print(json.dumps(about))
        print(f"{'first page':<52}{'entries':>9}{'cold':>12}{'first':>12}{'further':>12}{'processor':>12}")
        results = []
        for name, wanted in filters(last_ns).items():
            cold, _, _ = first_page(path, signatory, wanted, 1, cold=True)
            warm, worked, entries = first_page(path, signatory, wanted, TIMES, cold=False)
            result = {
                "filter": name, "entries": entries, "cold_ms": cold[0] * 1e3, "first_ms": warm[0] * 1e3,
                "further_ms": statistics.median(warm[1:]) * 1e3, "first_processor_ms": worked[0] * 1e3,
                "processor_ms": statistics.median(worked[1:]) * 1e3,
            }  # fmt: skip
            results.append(result)
            print(
                f"{name:<52}{entries:>9}{result['cold_ms']:>9.1f} ms{result['first_ms']:>9.1f} ms"
                f"{result['further_ms']:>9.1f} ms{result['processor_ms']:>9.1f} ms"
            )
        if asked.json:
            Path(asked.json).write_text(json.dumps({**about, "pages": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
