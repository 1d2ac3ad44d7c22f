"""A commit costs what it is meant to cost: the work that it does is counted, and held against what the design says.

A check that is made twice shows here as twice the work, on any machine, however busy it is.
"""

from __future__ import annotations

import hashlib
import pkgutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from signalfire.v1 import report_pb2

from bench import nodes, policy50
from bench.nodes import Node
from bench.traffic import Traffic, new_tag
from gateway.ledger.origin import Lane, Origin
from gateway.release.batch import IncomingBatch
from gateway.release.rulebook import Rulebook
from gateway.release.steps import ReceiveBatch
from gateway.reports.limits import ReportLimits
from tests.bench.counting import VFS, Counting

REPORTS = 64
UNITS = 2000
PARTNERS = ("KOR", "USA")


@dataclass
class Pair:
    """An origin with fifty rules for each of two partners, and one of them; both counted."""

    origin: Node
    recipient: Node
    counting: Counting
    traffic: Traffic
    tag: str
    sent: int = 0
    received: int = 0

    async def take(self, count: int) -> Counter[str]:
        """One commit of tracks at the origin."""
        steps = nodes.taken([self.traffic.track(self.tag, self.sent + number) for number in range(count)])
        self.sent += count
        with self.counting.on() as found:
            await self.origin.commit(*steps)
        return found

    async def receive(self) -> Counter[str]:
        """One commit of all that is new, at the recipient."""
        batches = list(self.origin.batches(Origin.release("JPN", "KOR", Lane.ROUTINE, 1), self.received))
        self.received = batches[-1].first + batches[-1].count
        with self.counting.on() as found:
            await self.recipient.commit(*(self.step(batch) for batch in batches))
        return found

    def step(self, batch: IncomingBatch) -> ReceiveBatch:
        return ReceiveBatch(batch, nodes.partner_of("JPN"), self.recipient.opener, ReportLimits())


@pytest.fixture(scope="module")
def rulebooks(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Rulebook]:
    """Policies, by whose they are: of the origin the one with fifty rules for each partner."""
    directory = tmp_path_factory.mktemp("policies") / "jpn"
    policy50.write(directory)
    return {
        "JPN": Rulebook.load(directory, "JPN", PARTNERS),
        "KOR": Rulebook.load(policy50.EXAMPLE.parent / "kor", "KOR", ("JPN", "USA")),
    }


@pytest.fixture
async def pair(rulebooks: Mapping[str, Rulebook], tmp_path: Path) -> AsyncIterator[Pair]:
    counting = Counting()

    with counting.watching():
        async with AsyncExitStack() as stack:
            origin = Node.of("JPN", tmp_path / "jpn.db", PARTNERS, rulebooks["JPN"], vfs=VFS)
            recipient = Node.of("KOR", tmp_path / "kor.db", ("JPN", "USA"), rulebooks["KOR"], vfs=VFS)
            for node in (origin, recipient):
                await stack.enter_async_context(node)
            pair = Pair(origin, recipient, counting, Traffic(), new_tag())
            # Ledgers, epochs and conditions are there from here on.
            await origin.do(*nodes.taken(pair.traffic.launches()))
            for batch in origin.batches(Origin.release("JPN", "KOR", Lane.FLASH, 1), 0):
                await recipient.do(pair.step(batch))
            await pair.take(1)
            await pair.receive()
            yield pair


@dataclass(frozen=True)
class Design:
    """What a commit does: exactly so much of some kinds of work, at the most so much of others, and nothing else."""

    exactly: Mapping[str, int]
    at_most: Mapping[str, int]

    def unlike(self, found: Mapping[str, int]) -> dict[str, int]:
        """The kinds of work of which as much was done as should not be."""
        wrong = {kind for kind, count in self.exactly.items() if found.get(kind, 0) != count}
        wrong |= {
            kind for kind, count in found.items() if kind not in self.exactly and count > self.at_most.get(kind, 0)
        }
        return {kind: found.get(kind, 0) for kind in wrong}


ORIGIN = Design(
    exactly={
        # A checkpoint for each segment: of the decisions one, of each ledger for a partner (16 KiB) five.
        "Ed25519 signatures": 1 + 2 * 5,
        # Of a report: a copy for each partner, the record of the decisions, and itself at rest. Of the commit: a
        # recovery record for each partner, and the entry that it is in.
        "seals": REPORTS * 4 + 2 * 2,
        # All rules of all partners at once.
        "conditions asked": REPORTS,
        "syncs": 1,
    },
    at_most={
        # A few of a commit, and of what each report adds one for sixteen rows.
        "statements": 13 + 6 * REPORTS // 16,
        "hashes": REPORTS * 14,
        "random draws": REPORTS * 4 + 4,
        "messages read": REPORTS * 2 + 8,
        "messages written": REPORTS * 7 + 16,
    },
)
"""Of a commit of REPORTS tracks for two partners."""
RECIPIENT = Design(
    exactly={
        # Of the batch: its checkpoint, and its receipt.
        "Ed25519 verifications": 1,
        "Ed25519 signatures": 1,
        # Each report, and the recovery record behind them, of which only its owner can open more.
        "openings": REPORTS + 1,
        "reports validated": REPORTS,
        "syncs": 1,
    },
    at_most={
        "statements": 26,
        "hashes": REPORTS * 3 + 16,
        "messages read": REPORTS * 2 + 8,
        "messages written": REPORTS * 2 + 8,
    },
)
"""Of its receipt at one of the two."""


async def unlike(pair: Pair) -> dict[str, int]:
    """What is not as it should be, of a commit at the origin and of its receipt."""
    found = {"origin": ORIGIN.unlike(await pair.take(REPORTS)), "recipient": RECIPIENT.unlike(await pair.receive())}
    return {f"{part}: {kind}": count for part, counts in found.items() for kind, count in counts.items()}


async def test_a_commit_does_what_it_has_to_and_nothing_twice(pair: Pair) -> None:
    assert await unlike(pair) == {}


@pytest.mark.parametrize(
    ("check", "shows"),
    [
        ("gateway.release.planned.ledger_writer.sign_checkpoint", "origin: Ed25519 signatures"),
        ("gateway.seal.storage.StorageKeys.seal", "origin: seals"),
        ("policy.cel.Fused.evaluate", "origin: conditions asked"),
        ("gateway.release.replica.open_checkpoint", "recipient: Ed25519 verifications"),
        ("gateway.release.replica.validate_released", "recipient: reports validated"),
        ("gateway.seal.epoch.Epoch.open", "recipient: openings"),
    ],
)
async def test_a_check_that_is_made_twice_shows(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, check: str, shows: str
) -> None:
    once = pkgutil.resolve_name(check)

    def twice(*arguments: Any, **named: Any) -> Any:
        once(*arguments, **named)
        return once(*arguments, **named)

    monkeypatch.setattr(check, twice)
    assert shows in await unlike(pair)


MOST_UNITS = 65.0
"""What a commit may cost a report, in units of `work`: not twice what it costs now, which is some 38."""
TRIES = 5


def work(report: report_pb2.Report) -> None:
    """Units of work of the kind that a commit is made of: interpreting, hashing, encrypting, reading and writing
    messages.
    """
    cipher = AESGCMSIV(bytes(32))
    for number in range(UNITS):
        raw = report.SerializeToString()
        report = report_pb2.Report.FromString(raw)
        sealed = cipher.encrypt(number.to_bytes(12), raw, None)
        digests = {hashlib.sha256(sealed + bytes([place])).digest(): place for place in range(4)}
        assert len(digests) == 4


async def test_a_report_costs_no_more_than_so_many_units_of_like_work(
    rulebooks: Mapping[str, Rulebook], tmp_path: Path
) -> None:
    costs, units, report = [], [], Traffic().track(new_tag(), 0)
    async with Node.of("JPN", tmp_path / "jpn.db", PARTNERS, rulebooks["JPN"]) as node:
        pushing = nodes.Pushing(node, PARTNERS)
        await pushing.launch()
        await pushing.push(REPORTS)
        # In turns, and of each the least: what else the machine does makes some tries longer, and none shorter.
        for _ in range(TRIES):
            costs.append(await pushing.push(4 * REPORTS) / (4 * REPORTS))
            began = time.process_time()
            work(report)
            units.append((time.process_time() - began) / UNITS)
    assert min(costs) / min(units) < MOST_UNITS
