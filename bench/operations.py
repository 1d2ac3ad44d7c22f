"""What each operation on a report costs, in microseconds of the processor a report, by how many go in a commit.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/operations.py [--rounds 15] [--json FILE]
[--chart FILE]``.

The tracks are those of `bench/traffic.py`; the policy has fifty rules for each of two partners (`bench/policy50.py`),
both of which are released every track. Operations by themselves are calls of the same functions with what the commit
gives them, in this thread; the two commits are made by a gateway's sequencer in a store on the disk, with everything
that belongs to one, and of them the part of SQLite is told beside; what folding SQLite's log takes, after some commits,
comes on top, in the mean. Sizes and operations are measured in turns, round by
round. The figure is the least of the rounds, with the median in brackets; the processor's time is that of all threads
of this process, waiting for the disk not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from signalfire.v1 import ledger_pb2, report_pb2

from bench import charts, figures, nodes, policy50
from bench.nodes import Node
from bench.traffic import Traffic, new_tag
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.tiles import Edge
from gateway.release.batch import IncomingBatch
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer import Step
from gateway.release.steps import KeepCosignature, ReceiveBatch
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import parse_report
from gateway.reports.validate import validate_released, validate_submitted
from gateway.seal.epoch import Epoch
from policy import Outcome

SIZES: Final = (1, 16, 64, 256)
"""Reports a commit."""
AT_LEAST: Final = 64
"""Reports of each size that are measured in a round."""
PARTNERS: Final = ("KOR", "USA")
TO_KOR: Final = Origin.release("JPN", "KOR", Lane.ROUTINE, 1)
LIMITS: Final = ReportLimits()

ORIGIN: Final = "the whole commit at the origin"
RECIPIENT: Final = "the whole commit at the recipient"
OPERATIONS: Final = {
    "read and validate": "from the bytes that came to a report that may be taken",
    "decide": "50 rules, for two partners",
    "copy": "as the rules oblige, for two partners",
    "seal": "two copies and the record of the decisions",
    "append": "leaf hashes, trees and tiles of three ledgers",
    "sign": "a checkpoint of each of three ledgers, Ed25519",
    "post-quantum lines": "one for each of three ledgers, ML-DSA-44; not every commit has them",
    "SQLite at the origin": "writing the commit",
    ORIGIN: "everything from the step to what is durable; recovery records with it",
    "receipts": "the whole commit that keeps the recipient's receipts at the origin",
    "verify": "the recipient: checkpoints, leaf hashes and roots",
    "open": "the recipient: every entry of one ledger",
    "validate again": "the recipient: what was opened",
    "SQLite at the recipient": "writing the commit",
    RECIPIENT: "everything from the batch to what is durable, receipts with it",
}
"""Operations in the order of the way, and what is in each."""


class Rounds:
    """Microseconds a report of each operation: by operation and size, one a round."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.folding: dict[str, float] = {}
        """Microseconds a report that folding a store's log took, by whose it is."""
        self._spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, operation: str) -> Iterator[None]:
        """What is done within it is the operation's."""
        began = time.process_time()
        yield
        self._spent[operation] += time.process_time() - began

    def add(self, operation: str, seconds: float) -> None:
        """So much more of it."""
        self._spent[operation] += seconds

    def close(self, size: int, reports: int) -> None:
        """All that was measured since the last call was of so many reports, in commits of `size`."""
        for operation, spent in self._spent.items():
            self.found[operation][size].append(1e6 * spent / reports)
        self._spent.clear()


class Alone:
    """Operations by themselves, on the entries that the commits of the origin give."""

    def __init__(self, rulebook: Rulebook, origin: Node, recipient: Node, rounds: Rounds) -> None:
        self._rulebook = rulebook
        self._origin = origin
        self._recipient = recipient
        self._rounds = rounds
        readers = [(node, nodes.partner_of(node).sealing) for node in (*PARTNERS, "JPN")]
        self._epoch, _ = Epoch.open_new(str(TO_KOR), 0, readers)
        self._sealed = 0
        self._edges = {name: Edge.empty() for name in (*PARTNERS, "JPN")}
        self._replica = Edge.empty()

    def at_the_origin(self, reports: Sequence[report_pb2.Report]) -> None:
        """Of one commit."""
        rulebook, of = self._rulebook, self._rounds.of
        raw = [report.SerializeToString() for report in reports]
        with of("read and validate"):
            read = [parse_report(each, LIMITS) for each in raw]
            violations = [validate_submitted(each, node="JPN", now=time.time_ns(), limits=LIMITS) for each in read]
        assert not any(violations), violations
        now = datetime.now(UTC)
        with of("decide"):
            circumstances = rulebook.circumstances(now, now, clock_trusted=True)
            asked = [(report, rulebook.ask(report, circumstances)) for report in reports]
            decided = [(report, ask.decide(partner, usable=True)) for report, ask in asked for partner in PARTNERS]
        assert all(decision.outcome is Outcome.RELEASED for _, decision in decided)
        with of("copy"):
            copies = [rulebook.copy(report, decision, _had)[1] for report, decision in decided]
        contents = [ledger_pb2.EntryContent(report=copy).SerializeToString() for copy in copies]
        records = [_parts_of_record(report) for report in reports]
        with of("seal"):
            entries = [self._epoch.seal(self._next(), content) for content in contents]
            recorded = [self._epoch.seal_parts(self._next(), parts) for parts in records]
        lists = (entries[::2], entries[1::2], recorded)
        with of("append"):
            for name, ledger in zip(self._edges, lists, strict=True):
                self._edges[name], _ = self._edges[name].grow([leaf_hash(entry) for entry in ledger])
        signatory = self._origin.signatory
        checkpoints = [Checkpoint(TO_KOR, edge.size, edge.root()) for edge in self._edges.values()]
        with of("sign"):
            notes = [sign_checkpoint(checkpoint, signatory.log) for checkpoint in checkpoints]
            for note in notes:
                note.encode()
        with of("post-quantum lines"):
            for note in notes:
                cosign(note.text, signatory.pq, time.time_ns() // 1_000_000_000)

    def at_the_recipient(self, batches: Sequence[IncomingBatch]) -> None:
        """Of one commit."""
        owner, of = nodes.partner_of("JPN"), self._rounds.of
        with of("verify"):
            entries: list[bytes] = []
            for batch in batches:
                checkpoint, _ = open_checkpoint(batch.checkpoint, owner.log, batch.origin)
                some = bundle.decode(batch.entries, batch.count, allow_absent=True)
                self._replica, _ = self._replica.grow([leaf_hash(entry) for entry in some])
                assert self._replica.root() == checkpoint.root
                entries += some
        first = batches[0].first
        opener = self._recipient.opener
        with of("open"):
            found = [
                opener.content(TO_KOR, index, entry, lambda at: entries[at - first])
                for index, entry in enumerate(entries, first)
            ]
        opened = [content.report for content in found if content is not None and content.HasField("report")]
        with of("validate again"):
            violations = [validate_released(report, origin="JPN", limits=LIMITS) for report in opened]
        assert not any(violations), violations

    def _next(self) -> int:
        self._sealed += 1
        return self._sealed


def _had(originator: str, report_id: str) -> bool:
    return True


def _parts_of_record(report: report_pb2.Report) -> list[ledger_pb2.Part]:
    """A record of decisions as large as a real one."""
    subject = ledger_pb2.DecisionRecord(
        report_id=report.report_id, kind="Track", event_id=report.event_id, traffic_class=report.traffic_class,
        precedence=report.precedence, report_digest=bytes(32), submitted_by=nodes.CLIENT, policy_digest=bytes(32),
        posture="ROUTINE", originator_node="JPN", time=report.report_time, accepted_time=report.report_time,
    )  # fmt: skip
    decisions = [
        ledger_pb2.Decision(
            partner=partner, outcome=ledger_pb2.OUTCOME_RELEASED, rule="prk-launch-warning",
            agreement="trilateral-2023", fields=("envelope", "threat", "references", "launch", "track", "impact"),
            ledger=str(TO_KOR), index=1000, entry_commitment=bytes(32),
        )
        for partner in PARTNERS
    ]  # fmt: skip
    groups = (ledger_pb2.PART_GROUP_SUBJECT, ledger_pb2.PART_GROUP_DECISION, ledger_pb2.PART_GROUP_DECISION)
    records = (subject, *(ledger_pb2.DecisionRecord(decisions=[decision]) for decision in decisions))
    return [
        ledger_pb2.Part(group=group, content=ledger_pb2.EntryContent(decision_record=record).SerializeToString())
        for group, record in zip(groups, records, strict=True)
    ]


class Measuring:
    """An origin and a recipient, and what their commits cost."""

    def __init__(self, origin: Node, recipient: Node, alone: Alone, rounds: Rounds) -> None:
        self._origin = origin
        self._recipient = recipient
        self._alone = alone
        self._rounds = rounds
        self._traffic = Traffic()
        self._tag = new_tag()
        self._sent = 0
        self._received = 0

    async def begin(self) -> None:
        """The launches to which tracks refer, and a first commit, which opens epochs and ledgers."""
        await self._origin.do(*nodes.taken(self._traffic.launches()))
        for batch in self._origin.batches(Origin.release("JPN", "KOR", Lane.FLASH, 1), 0):
            await self._recipient.do(self._received_step(batch))
        await self.one(1)
        self._rounds.close(0, 1)

    async def one(self, size: int) -> None:
        """One commit of `size` tracks, from the C2 system's bytes to the receipts for them."""
        reports = [self._traffic.track(self._tag, self._sent + number) for number in range(size)]
        self._sent += size
        self._alone.at_the_origin(reports)
        began = time.process_time()
        steps = nodes.taken(reports)
        self._rounds.add(ORIGIN, time.process_time() - began)
        await self._commit(self._origin, ORIGIN, "origin", steps)
        batches = list(self._origin.batches(TO_KOR, self._received))
        self._received = batches[-1].first + batches[-1].count
        self._alone.at_the_recipient(batches)
        received = await self._commit(
            self._recipient, RECIPIENT, "recipient", [self._received_step(batch) for batch in batches]
        )
        assert sum(each.reports for each in received) == size, received
        kor = nodes.partner_of("KOR")
        receipts = [KeepCosignature(TO_KOR, CosignatureKind.RECEIPT, each.receipt, kor) for each in received]
        await self._origin.commit(*receipts)
        self._rounds.add("receipts", self._origin.cpu_seconds)

    def _received_step(self, batch: IncomingBatch) -> ReceiveBatch:
        return ReceiveBatch(batch, nodes.partner_of("JPN"), self._recipient.opener, LIMITS)

    async def _commit(self, node: Node, whole: str, part: str, steps: Sequence[Step[Any]]) -> list[Any]:
        wrote = node.store.wrote
        outcomes = await node.commit(*steps)
        self._rounds.add(whole, node.cpu_seconds)
        self._rounds.add(f"SQLite at the {part}", node.store.wrote - wrote)
        return outcomes


async def measure(
    directory: Path, sizes: Sequence[int], rounds: int, told: Callable[[], None], *, at_least: int = AT_LEAST
) -> Rounds:
    """All rounds of all sizes, in turns, of `at_least` so many reports each. `told` is told of each that is done."""
    policy50.write(directory / "jpn")
    ours = Rulebook.load(directory / "jpn", "JPN", PARTNERS)
    theirs = Rulebook.load(policy50.EXAMPLE.parent / "kor", "KOR", ("JPN", "USA"))
    found = Rounds()
    async with AsyncExitStack() as stack:
        origin, recipient = [
            await stack.enter_async_context(Node.of(node, directory / f"{part}.db", others, rulebook))
            for node, part, others, rulebook in (
                ("JPN", "origin", PARTNERS, ours),
                ("KOR", "recipient", ("JPN", "USA"), theirs),
            )
        ]
        measuring = Measuring(origin, recipient, Alone(ours, origin, recipient, found), found)
        await measuring.begin()
        for _ in range(rounds):
            for size in sizes:
                times = -(-at_least // size)
                for _ in range(times):
                    await measuring.one(size)
                found.close(size, times * size)
                told()
        reports = rounds * sum(-(-at_least // size) * size for size in sizes)
        for part, node in (("origin", origin), ("recipient", recipient)):
            node.store.fold()
            found.folding[part] = 1e6 * node.store.folded / reports
    found.found = {name: {size: each for size, each in by.items() if size} for name, by in found.found.items()}
    return found


def as_json(rounds: Rounds, before: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is kept of a run."""
    return {
        "machine": {**figures.machine(), "load_average_before": before["load_average"]},
        "folding_us_a_report": rounds.folding,
        "cpu_us_a_report": {
            name: {str(size): figures.summed(each) for size, each in rounds.found[name].items()} for name in OPERATIONS
        },
    }


def table(rounds: Rounds, sizes: Sequence[int]) -> Table:
    """The figures."""
    made = Table(
        title="Microseconds of the processor a report, by reports a commit: the least of the rounds (the median)",
        title_justify="left",
    )
    made.add_column("operation")
    for size in sizes:
        made.add_column(f"{size:,}", justify="right")
    made.add_column("what is in it")
    for name, what in OPERATIONS.items():
        cells = []
        for size in sizes:
            figure = figures.summed(rounds.found[name][size])
            cells.append(f"{figure['min']:,.1f} ({figure['median']:,.1f})")
        made.add_row(name, *cells, what, style="bold" if name in (ORIGIN, RECIPIENT) else None)
    return made


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="reports a commit")
    parser.add_argument("--dir", type=Path, help="where the stores lie meanwhile; on the disk to be measured")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--chart", type=Path, help="and a chart here, SVG")
    options = parser.parse_args()
    sizes = [int(size) for size in options.sizes.split(",")]
    before = figures.machine()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory, figures.progress() as progress:
        bar = progress.add_task("rounds of each size", total=options.rounds * len(sizes))
        found = asyncio.run(measure(Path(directory), sizes, options.rounds, lambda: progress.advance(bar)))
    console = figures.console()
    console.print(table(found, sizes))
    folding = " and ".join(f"{each:,.1f} at the {part}" for part, each in found.folding.items())
    console.print(f"Folding SQLite's log into its file took, in the mean of all reports, {folding}.")
    figures.keep(options.json, as_json(found, before))
    if options.chart is not None:
        lines = {name: [(size, min(found.found[name][size])) for size in sizes] for name in OPERATIONS}
        missing = charts.lines(
            options.chart,
            lines,
            title="What a report costs",
            across="reports a commit",
            up="µs of the processor a report",
        )
        if missing:
            print(missing)


if __name__ == "__main__":
    main()
