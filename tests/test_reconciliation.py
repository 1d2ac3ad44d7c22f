"""What comes of comparing third nodes' witness ledgers: what goes on record, and on whom an alarm falls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from gateway.audit.reconcile import Comparison, reconcile
from gateway.audit.signers import Signers
from gateway.exchange.dialling import LinkError
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.partners import Link, Partners
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.origin import Origin
from gateway.reconciliation import Reconciling
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner
from gateway.release.steps import FollowSuccessor
from tests.audit.test_reconcile import Holdings, Liar, entries
from tests.release.world import Site, partner_of, signatory_of

FIRST = Origin.witness("JPN", 1)
SECOND = FIRST.successor()
STRANGER = LogKey(b"n" * 32)


class Nation:
    """KOR with its store, and what it and USA hold of JPN's witness ledgers."""

    def __init__(self, kor: Site) -> None:
        self.kor = kor
        self.ours, self.theirs = Holdings(), Holdings()
        self.links = {"JPN": Link(), "USA": Link()}
        self.silent = False
        self.reconciling = _Comparing(self)

    # What stands for the table of partners, and for the sequencer.

    def get(self, node: str) -> Partner:
        return partner_of(node)

    def current(self, owner: str, recipient: str | None, lane: str) -> Origin:
        return self.kor.heads.current(owner, recipient, lane)

    async def do(self, step: object) -> object:
        return self.kor.do(step)  # type: ignore[arg-type]  # any step, as the sequencer takes it

    def shown(self, origin: Origin, ours: list[bytes], theirs: list[bytes], key: LogKey | None = None) -> None:
        """Both come to hold these entries, with JPN's checkpoints of those sizes."""
        for side, leaves in ((self.ours, ours), (self.theirs, theirs)):
            side.leaves[origin] = leaves
            signer = key if key is not None and side is self.theirs else signatory_of("JPN").log
            self.signs(side, origin, len(leaves), signer)

    def signs(self, side: Holdings, origin: Origin, size: int, key: LogKey | None = None) -> None:
        root = asyncio.run(Holdings({origin: side.leaves[origin][:size]}).heads())[0].root
        checkpoint = Checkpoint(origin, size, root)
        side.checkpoints[origin, size] = sign_checkpoint(checkpoint, key or signatory_of("JPN").log).encode()

    def compare(self) -> None:
        asyncio.run(self.reconciling.compare_witnesses("USA"))

    def recorded(self) -> list[tuple[str, int]]:
        """The kinds of events, each with how many notes it holds."""
        return [(event.kind, len(event.evidence)) for event in self.kor.events()]

    def alarms(self) -> dict[str, list[str]]:
        return {node: sorted(link.differs) for node, link in self.links.items() if link.differs}


class _Comparing(Reconciling):
    """Compares with what the test says that USA holds, over no wire."""

    def __init__(self, nation: Nation) -> None:
        super().__init__(
            own=SpiffeId("kor", Role.GATEWAY, "gw1"),
            signatory=signatory_of("KOR"),
            partners=cast(Partners, nation),
            sequencer=cast(Sequencer, nation),
            reader=lambda: nation.kor.store,
            key_pair=KeyPairFiles(Path(), Path()),
            limits=ExchangeLimits(),
        )
        self._nation = nation

    async def _compare(self, node: str, *, between: bool = True) -> AsyncIterator[Comparison]:
        nation = self._nation

        async def sizes(origin: Origin, least: int, last: int) -> list[int]:
            held = (size for at, size in nation.ours.checkpoints if at == origin and least <= size <= last)
            return sorted(held, reverse=True)

        signers = {each: Signers.of(partner_of(each)) for each in ("JPN", "KOR", "USA")}
        known = self._known.get(node, ())
        async for compared in reconcile(
            "KOR", node, nation.ours, nation.theirs, signers, signed_sizes=sizes, between=between, known=known
        ):
            yield compared
        if nation.silent:
            raise LinkError("nothing came")


@pytest.fixture
def nation(tmp_path: Path) -> Iterator[Nation]:
    kor = Site("KOR", tmp_path / "kor.sqlite")
    yield Nation(kor)
    kor.close()


def fork(nation: Nation, origin: Origin, *sizes: int) -> None:
    """JPN shows USA another history than KOR; of `sizes` both hold its checkpoint."""
    nation.shown(origin, entries(11), entries(14, frozenset(range(7, 14))))
    for size in sizes:
        nation.signs(nation.ours, origin, size)
        nation.signs(nation.theirs, origin, size)


def test_an_equivocation_in_a_generation_that_has_ended_goes_on_record_and_is_an_alarm(nation: Nation) -> None:
    nation.kor.do(FollowSuccessor(FIRST, SECOND))
    fork(nation, FIRST, 9)
    nation.shown(SECOND, entries(3), entries(4))
    nation.compare()
    assert nation.recorded() == [("fork-evidence", 2)]
    assert nation.alarms() == {"JPN": ["witness 1 as USA holds it"]}


@pytest.mark.parametrize("sizes", [(), (9,)])
def test_each_ledger_goes_on_record_once_and_its_alarm_outlives_comparisons_and_successors(
    nation: Nation, sizes: tuple[int, ...]
) -> None:
    fork(nation, FIRST, *sizes)
    nation.compare()
    kind = "fork-evidence" if sizes else "reconciled"
    assert nation.recorded() == [(kind, 2)]
    nation.kor.do(FollowSuccessor(FIRST, SECOND))
    nation.shown(SECOND, entries(3), entries(3))
    for _ in range(3):
        nation.compare()
    assert nation.alarms() == {"JPN": ["witness 1 as USA holds it"]}
    fork(nation, SECOND, *sizes)
    nation.compare()
    # A restart forgets what was compared, and not what is on record.
    nation.reconciling = _Comparing(nation)
    nation.compare()
    assert nation.recorded() == [(kind, 2)] * 2
    assert nation.alarms() == {"JPN": ["witness 1 as USA holds it", "witness 2 as USA holds it"]}


def test_two_notes_of_two_sizes_go_on_record_with_both_roots_of_the_smaller_one(nation: Nation) -> None:
    fork(nation, FIRST)
    nation.compare()
    (event,) = nation.kor.events()
    assert list(event.evidence) == [nation.ours.checkpoints[FIRST, 11], nation.theirs.checkpoints[FIRST, 14]]
    assert "of its first 11 entries the root is" in event.detail


def test_a_partner_that_stops_answering_hides_nothing_that_was_found_before(nation: Nation) -> None:
    fork(nation, FIRST, 9)
    nation.silent = True
    with pytest.raises(LinkError):
        nation.compare()
    assert nation.recorded() == [("fork-evidence", 2)]
    assert "JPN" in nation.alarms()


def lying(nation: Nation) -> None:
    nation.shown(FIRST, entries(30), entries(40))
    nation.theirs = Liar(nation.theirs.leaves, {}, nation.theirs.checkpoints, number=1)


def unsigned(nation: Nation) -> None:
    nation.shown(FIRST, entries(30), entries(40, frozenset({3})))
    nation.theirs.checkpoints.clear()


@pytest.mark.parametrize("does", [lying, unsigned])
def test_what_the_side_that_was_asked_cannot_show_is_put_to_it_until_it_can(
    nation: Nation, does: Callable[[Nation], None]
) -> None:
    for _ in range(2):
        does(nation)
        nation.compare()
        assert nation.alarms() == {"USA": ["witness of JPN, generation 1"]}
    assert nation.recorded() == [("reconciled", 0)]
    nation.theirs = Holdings()
    nation.shown(FIRST, entries(30), entries(40))
    nation.compare()
    assert nation.alarms() == {}


@pytest.mark.parametrize("changed", [frozenset(), frozenset({3})])
def test_a_key_that_is_not_known_here_is_no_event_and_no_alarm(nation: Nation, changed: frozenset[int]) -> None:
    nation.shown(FIRST, entries(30), entries(40, changed), key=STRANGER)
    nation.compare()
    assert (nation.recorded(), nation.alarms()) == ([], {})
