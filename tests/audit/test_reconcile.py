"""Two sources of hashes are compared: exactly what differs is named, and whose signatures contradict each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.audit.proven_tree import ProvenTree, Untrue, folded, peaks
from gateway.audit.reconcile import MAX_DIFFERING, Comparison, Verdict, reconcile
from gateway.audit.signers import Signers
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import Ed25519CosignatureSigner, receipt_name
from gateway.ledger.holding import HeldLedger, HeldSignatures, holder
from gateway.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from gateway.ledger.note import Note, sign_note
from gateway.ledger.origin import Origin
from gateway.release.holdings import most_hashes

LOGS: Final = {"JPN": LogKey(b"j" * 32), "KOR": LogKey(b"k" * 32)}
OLD_LOG: Final = LogKey(b"o" * 32)
RECEIPTS: Final = {
    node: Ed25519CosignatureSigner(receipt_name(node), seed * 32) for node, seed in (("JPN", b"1"), ("KOR", b"2"))
}
OLD_RECEIPT: Final = Ed25519CosignatureSigner(receipt_name("KOR"), b"9" * 32)
SIGNERS: Final[Mapping[str, Signers]] = {
    node: Signers(
        node,
        (LOGS[node].public,),
        (RECEIPTS[node].verifier,),
        retired_log=(OLD_LOG.public,) if node == "JPN" else (),
        retired_receipt=(OLD_RECEIPT.verifier,) if node == "KOR" else (),
    )
    for node in LOGS
}

FLASH: Final = Origin.release("JPN", "KOR", "flash", 1)
BACK: Final = Origin.release("KOR", "JPN", "flash", 1)
WITNESS: Final = Origin.witness("JPN", 1)


def root_of(leaves: Sequence[bytes]) -> bytes:
    return Frontier.empty().append(leaves).root()


def entries(count: int, changed: frozenset[int] = frozenset()) -> list[bytes]:
    return [leaf_hash(b"%d%s" % (index, b"!" if index in changed else b"")) for index in range(count)]


def signed(origin: Origin, leaves: Sequence[bytes], key: LogKey | None = None) -> bytes:
    checkpoint = Checkpoint(origin, len(leaves), root_of(leaves))
    return sign_checkpoint(checkpoint, key or LOGS[origin.owner]).encode()


def receipt(origin: Origin, leaves: Sequence[bytes], by: str | None = None) -> bytes:
    signer = RECEIPTS[by or holder(origin, "JPN", "KOR")]
    return sign_note(Checkpoint(origin, len(leaves), root_of(leaves)).text(), signer.at(1_800_000_000)).encode()


@dataclass
class Holdings:
    """One side, with true hashes of whatever leaves it holds; checkpoints at the sizes that it was given."""

    leaves: dict[Origin, list[bytes]] = field(default_factory=dict)
    receipts: dict[Origin, bytes] = field(default_factory=dict)
    checkpoints: dict[tuple[Origin, int], bytes] = field(default_factory=dict)
    successors: dict[Origin, Origin] = field(default_factory=dict)
    asked: int = 0

    @classmethod
    def of(cls, origin: Origin, leaves: list[bytes], *, receipted: bytes = b"", key: LogKey | None = None) -> Holdings:
        checkpoints = {(origin, len(leaves)): signed(origin, leaves, key)}
        return cls({origin: leaves}, {origin: receipted}, checkpoints)

    async def heads(self) -> list[HeldLedger]:
        return [
            HeldLedger(
                origin,
                len(leaves),
                root_of(leaves),
                self.checkpoints.get((origin, len(leaves)), b"") if leaves else b"",
                self.receipts.get(origin, b""),
                self.successors.get(origin),
            )
            for origin, leaves in self.leaves.items()
        ]

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        assert 1 <= count <= most_hashes(level), "a question beyond what the contract allows"
        self.asked += 1
        leaves = self.leaves[origin]
        there = range(first, min(first + count, len(leaves) >> level))
        return b"".join(root_of(leaves[each << level : (each + 1) << level]) for each in there)

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        return HeldSignatures(self.checkpoints.get((origin, size), b""))


def compare(ours: Holdings, theirs: Holdings, *, at_once: bool = True) -> list[Comparison]:
    """What JPN finds out when it compares with KOR."""

    async def run() -> list[Comparison]:
        return [each async for each in reconcile("JPN", "KOR", ours, theirs, SIGNERS, at_once=at_once)]

    return asyncio.run(run())


def only(ours: Holdings, theirs: Holdings, *, at_once: bool = True) -> Comparison:
    (found,) = compare(ours, theirs, at_once=at_once)
    return found


# --- what is named


@given(
    sizes=st.tuples(st.integers(0, 1500), st.integers(0, 1500)),
    changed=st.frozensets(st.integers(0, 1500), max_size=12),
    origin=st.sampled_from([FLASH, BACK, WITNESS]),
)
@settings(max_examples=60, deadline=None)
def test_exactly_the_entries_that_differ_are_named(
    sizes: tuple[int, int], changed: frozenset[int], origin: Origin
) -> None:
    one, other = entries(sizes[0]), entries(sizes[1], changed)
    ours, theirs = Holdings.of(origin, one), Holdings.of(origin, other)
    found = only(ours, theirs, at_once=False)
    common = min(sizes)
    unlike = sorted(index for index in changed if index < common)
    assert list(found.differing) == unlike
    assert found.agreed_size == (unlike[0] if unlike else common)
    assert (found.size, found.partner_size) == sizes
    if unlike:
        assert found.verdict is Verdict.EQUIVOCATION
    else:
        assert found.verdict is (Verdict.IDENTICAL if sizes[0] == sizes[1] else Verdict.PREFIX)
        assert found.finding == ""
    # O(differences * log n): the peaks of both trees' sizes, and a tile for each 256-fold and difference.
    most = 2 * (common.bit_length() + max(sizes).bit_length()) + 3 * (len(unlike) + 1)
    assert theirs.asked <= most


def test_trees_that_are_the_same_cost_no_hash() -> None:
    ours, theirs = Holdings.of(FLASH, entries(900)), Holdings.of(FLASH, entries(900))
    assert only(ours, theirs).verdict is Verdict.IDENTICAL
    assert (ours.asked, theirs.asked) == (0, 0)


def test_so_many_differences_are_named_and_no_more() -> None:
    everything = frozenset(range(3000))
    found = only(Holdings.of(FLASH, entries(3000)), Holdings.of(FLASH, entries(3000, everything)))
    assert list(found.differing) == list(range(MAX_DIFFERING))


def test_ledgers_that_one_side_alone_holds_are_compared_as_well() -> None:
    ours = Holdings.of(FLASH, entries(3))
    theirs = Holdings.of(BACK, entries(2))
    assert [(each.origin, each.size, each.partner_size, each.verdict) for each in compare(ours, theirs)] == [
        (FLASH, 3, 0, Verdict.PREFIX),
        (BACK, 0, 2, Verdict.PREFIX),
    ]


# --- who signed what


def test_two_trees_with_the_owners_signature_are_equivocation_with_both_notes() -> None:
    one, other = entries(5), entries(5, frozenset({3}))
    found = only(Holdings.of(FLASH, one), Holdings.of(FLASH, other))
    assert found.verdict is Verdict.EQUIVOCATION
    assert "JPN signed two trees that part at entry 3" in found.finding
    assert list(found.evidence) == [signed(FLASH, one), signed(FLASH, other)]


def test_equivocation_at_two_sizes_is_shown_at_one_where_a_checkpoint_of_it_is_held() -> None:
    long, short = entries(9), entries(5, frozenset({3}))
    ours, theirs = Holdings.of(FLASH, long), Holdings.of(FLASH, short)
    ours.checkpoints[FLASH, 5] = signed(FLASH, long[:5])
    assert list(only(ours, theirs).evidence) == [signed(FLASH, long[:5]), signed(FLASH, short)]
    # And the other way round, where the longer one is theirs.
    assert list(only(theirs, ours).evidence) == [signed(FLASH, short), signed(FLASH, long[:5])]


def test_what_a_retired_key_signed_blames_nobody_and_is_said_to_be_unsigned() -> None:
    found = only(Holdings.of(FLASH, entries(5)), Holdings.of(FLASH, entries(5, frozenset({0})), key=OLD_LOG))
    assert (found.verdict, list(found.differing), list(found.evidence)) == (Verdict.UNSIGNED, [0], [])
    assert "signed with a log key alone that JPN has retired: that is as good as unsigned" in found.finding
    # Nor has an owner lost what it signed with such a key alone.
    found = only(Holdings.of(FLASH, entries(90)), Holdings.of(FLASH, entries(95), key=OLD_LOG))
    assert found.verdict is Verdict.UNSIGNED


def test_what_a_retired_key_signed_is_no_finding_where_a_key_in_use_covers_it() -> None:
    for size in (85, 90):
        behind = Holdings.of(FLASH, entries(size), key=OLD_LOG)
        assert only(Holdings.of(FLASH, entries(90)), behind).finding == ""
        assert only(behind, Holdings.of(FLASH, entries(90)), at_once=False).finding == ""


def test_a_receipt_under_a_retired_key_blames_nobody() -> None:
    def old(leaves: list[bytes]) -> bytes:
        said = Checkpoint(FLASH, len(leaves), root_of(leaves))
        return sign_note(said.text(), OLD_RECEIPT.at(1_999_999_999)).encode()

    assert only(Holdings.of(FLASH, entries(5), receipted=old(entries(5))), Holdings.of(FLASH, entries(5))).finding == ""
    for leaves in (entries(90), entries(3, frozenset({1}))):
        found = only(Holdings.of(FLASH, entries(90), receipted=old(leaves)), Holdings.of(FLASH, entries(85)))
        assert (found.verdict, list(found.evidence)) == (Verdict.UNSIGNED, [])
        assert "under a key that is retired: that is as good as unsigned, and blames nobody" in found.finding


def test_what_nobody_signed_is_a_damaged_store_and_no_equivocation() -> None:
    ours, theirs = Holdings.of(FLASH, entries(5)), Holdings.of(FLASH, entries(5, frozenset({2})))
    theirs.checkpoints[FLASH, 5] = signed(FLASH, entries(5))
    found = only(ours, theirs)
    assert (found.verdict, list(found.differing)) == (Verdict.UNSIGNED, [2])
    assert found.finding.startswith("KOR holds 5 entries")


@pytest.mark.parametrize("note", [b"", b"junk", b"\xff", signed(BACK, entries(5)), signed(FLASH, entries(4))])
def test_a_side_that_shows_no_such_checkpoint_is_named(note: bytes) -> None:
    ours, theirs = Holdings.of(FLASH, entries(5)), Holdings.of(FLASH, entries(5))
    theirs.checkpoints[FLASH, 5] = note
    assert only(ours, theirs).verdict is Verdict.UNSIGNED
    assert "JPN holds 5 entries" in only(theirs, ours).finding


@pytest.mark.parametrize("origin", [FLASH, BACK])
def test_an_owner_that_signed_more_than_it_holds_lost_its_tail(origin: Origin) -> None:
    short, long = Holdings.of(origin, entries(4)), Holdings.of(origin, entries(7))
    ours, theirs = (short, long) if origin.owner == "JPN" else (long, short)
    found = only(ours, theirs)
    assert found.verdict is Verdict.LOST_TAIL
    assert f"{origin.owner} signed 7 entries and holds 4" in found.finding
    assert list(found.evidence) == [signed(origin, entries(7))]
    # Of folders that were written at different times it says nothing.
    assert only(ours, theirs, at_once=False).verdict is Verdict.PREFIX
    # And a recipient that has less is behind, which is nothing either.
    assert only(theirs, ours).verdict is Verdict.PREFIX


@pytest.mark.parametrize("origin", [FLASH, BACK, WITNESS])
def test_a_receipt_for_more_than_its_signer_holds_contradicts_it(origin: Origin) -> None:
    signer = holder(origin, "JPN", "KOR")
    behind, whole = (
        Holdings.of(origin, entries(4)),
        Holdings.of(origin, entries(7), receipted=receipt(origin, entries(7))),
    )
    found = only(whole, behind) if signer == "KOR" else only(behind, whole)
    assert found.verdict is Verdict.FALSE_RECEIPT
    assert f"{signer} gave a receipt for 7 entries and holds 4" in found.finding
    assert receipt(origin, entries(7)) in found.evidence


def test_a_receipt_for_another_tree_than_its_signer_holds_contradicts_it() -> None:
    other = receipt(FLASH, entries(3, frozenset({1})))
    found = only(Holdings.of(FLASH, entries(5), receipted=other), Holdings.of(FLASH, entries(5)))
    assert found.verdict is Verdict.FALSE_RECEIPT
    assert "KOR gave a receipt for 3 entries" in found.finding
    assert other in found.evidence


@pytest.mark.parametrize(
    "raw", [b"junk", receipt(FLASH, entries(5), by="JPN"), receipt(BACK, entries(5)), signed(FLASH, entries(5))]
)
def test_a_receipt_that_is_none_is_named(raw: bytes) -> None:
    found = only(Holdings.of(FLASH, entries(5), receipted=raw), Holdings.of(FLASH, entries(5)))
    assert "JPN holds a receipt that no key of KOR signed" in found.finding


def test_what_is_longer_than_any_note_is_no_evidence() -> None:
    found = only(Holdings.of(FLASH, entries(5)), Holdings.of(FLASH, entries(5), receipted=b"x" * 70_000))
    assert found.finding
    assert not found.evidence


def test_of_a_ledger_that_has_ended_the_one_that_goes_on_is_named() -> None:
    ours, theirs = Holdings.of(FLASH, entries(5)), Holdings.of(FLASH, entries(5, frozenset({1})))
    ours.successors[FLASH] = FLASH.successor()
    assert f"has ended, and {FLASH.successor()} goes on" in only(ours, theirs).finding


# --- a side that does not tell the truth


@dataclass
class Liar(Holdings):
    """Answers the question `number` with other bytes."""

    number: int = 0
    answer: bytes = b""

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        true = await Holdings.hashes(self, origin, level, first, count)
        return true if self.asked != self.number else self.answer or b"\x00" * len(true)


def lying(number: int, answer: bytes = b"") -> Liar:
    honest = Holdings.of(FLASH, entries(700, frozenset({600})))
    return Liar(honest.leaves, honest.receipts, honest.checkpoints, number=number, answer=answer)


def questions() -> int:
    asked = lying(-1)
    compare(Holdings.of(FLASH, entries(700)), asked)
    return asked.asked


@pytest.mark.parametrize("answer", [b"", b"x", b"y" * HASH_SIZE, b"z" * HASH_SIZE * 257])
def test_hashes_that_do_not_add_up_are_noticed_at_every_question(answer: bytes) -> None:
    assert questions() > 3
    for number in range(1, questions() + 1):
        found = only(Holdings.of(FLASH, entries(700)), lying(number, answer))
        assert found.verdict is Verdict.UNTRUE, (number, found)
        assert "what KOR gives does not add up" in found.finding
        assert not found.differing


def test_a_root_that_the_hashes_do_not_give_is_noticed() -> None:
    theirs = Holdings.of(FLASH, entries(300))
    wrong = replace(asyncio.run(theirs.heads())[0], root=b"\x07" * HASH_SIZE)

    class Claims(Holdings):
        async def heads(self) -> list[HeldLedger]:
            return [wrong]

    claims = Claims(theirs.leaves, {}, {})
    found = only(Holdings.of(FLASH, entries(300)), claims)
    assert found.verdict is Verdict.UNTRUE


def test_our_own_damaged_tiles_are_named_as_ours() -> None:
    found = only(lying(1), Holdings.of(FLASH, entries(700)))
    assert "what JPN gives does not add up" in found.finding


# --- the tree


@given(size=st.integers(1, 900), data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_proven_tree_gives_the_root_of_every_size_that_it_had(size: int, data: st.DataObject) -> None:
    leaves = entries(size)
    holdings = Holdings.of(FLASH, leaves)
    tree = ProvenTree(holdings, asyncio.run(holdings.heads())[0], "KOR")
    at = data.draw(st.integers(0, size))
    assert asyncio.run(tree.root_at(at)) == root_of(leaves[:at])


@given(size=st.integers(0, 2**63 - 1))
def test_the_peaks_of_a_size_cover_it_once(size: int) -> None:
    covered = 0
    for level, index in peaks(size):
        assert index << level == covered
        covered += 1 << level
    assert covered == size


def test_no_peak_folds_to_the_empty_root() -> None:
    assert folded([]) == root_of([])


def test_a_tree_has_no_node_beyond_its_end() -> None:
    holdings = Holdings.of(FLASH, entries(5))
    tree = ProvenTree(holdings, asyncio.run(holdings.heads())[0], "KOR")
    with pytest.raises(Untrue, match="no subtree"):
        asyncio.run(tree.node(1, 2))


# --- third nodes


USA_WITNESS: Final = Origin.witness("USA", 1)
USA_LOG: Final = LogKey(b"u" * 32)
WITH_USA: Final = {**SIGNERS, "USA": Signers("USA", (USA_LOG.public,), ())}


def third(leaves: list[bytes], *sizes: int) -> Holdings:
    """What a side holds of the witness ledger of USA, with checkpoints of these sizes as well."""
    held = Holdings.of(USA_WITNESS, leaves, key=USA_LOG)
    for size in sizes:
        held.checkpoints[USA_WITNESS, size] = signed(USA_WITNESS, leaves[:size], USA_LOG)
    return held


def about_usa(
    ours: Holdings, theirs: Holdings, signers: Mapping[str, Signers] = WITH_USA, *, between: bool = True
) -> list[Comparison]:
    async def sizes(origin: Origin, least: int, last: int) -> list[int]:
        return sorted((size for at, size in ours.checkpoints if at == origin and least <= size <= last), reverse=True)

    async def run() -> list[Comparison]:
        compared = reconcile("JPN", "KOR", ours, theirs, signers, signed_sizes=sizes, between=between)
        return [each async for each in compared]

    return asyncio.run(run())


def test_a_third_node_that_shows_two_histories_is_named_with_two_notes_of_one_size() -> None:
    ours = third(entries(12), 8, 10)
    theirs = third(entries(15, frozenset(range(7, 15))), 8, 11)
    (found,) = about_usa(ours, theirs)
    assert found.verdict is Verdict.EQUIVOCATION
    assert "USA signed two trees that part at entry 7" in found.finding
    assert found.evidence == (ours.checkpoints[USA_WITNESS, 8], theirs.checkpoints[USA_WITNESS, 8])


def test_without_checkpoints_of_one_size_the_two_that_there_are_are_named() -> None:
    (found,) = about_usa(third(entries(12)), third(entries(15, frozenset({7}))))
    assert found.verdict is Verdict.EQUIVOCATION
    assert len(found.evidence) == 2


def test_a_third_witness_ledger_of_which_a_side_has_less_is_in_order() -> None:
    for sizes in ((9, 14), (14, 9)):
        (found,) = about_usa(third(entries(sizes[0])), third(entries(sizes[1])))
        assert (found.verdict, found.finding) == (Verdict.PREFIX, "")


def test_of_third_nodes_only_what_both_hold_and_whose_keys_are_known_is_compared() -> None:
    both = third(entries(5))
    assert about_usa(both, Holdings()) == about_usa(Holdings(), both) == []
    assert about_usa(both, third(entries(5)), SIGNERS) == []
    lane = Holdings.of(FLASH, entries(3))
    lane.leaves |= both.leaves
    lane.checkpoints |= both.checkpoints
    assert [each.origin for each in about_usa(lane, lane, between=False)] == [USA_WITNESS]
    assert [each.origin for each in about_usa(lane, lane)] == [FLASH, USA_WITNESS]


@pytest.mark.parametrize("note", [b"", b"junk", signed(USA_WITNESS, entries(8), USA_LOG)])
def test_what_a_side_claims_of_a_third_node_without_its_signature_blames_the_side(note: bytes) -> None:
    claims = third(entries(9, frozenset({3})))
    claims.checkpoints[USA_WITNESS, 9] = note
    (found,) = about_usa(third(entries(9)), claims)
    assert (found.verdict, found.parts) == (Verdict.UNSIGNED, True)
    assert "KOR holds 9 entries" in found.finding


def test_a_line_that_is_not_by_the_known_key_that_it_names_blames_the_side() -> None:
    true, other = (Note.parse(signed(USA_WITNESS, entries(9, frozenset({n})), USA_LOG)) for n in (1, 2))
    claims = third(entries(9, frozenset({1})))
    claims.checkpoints[USA_WITNESS, 9] = Note(true.text, other.signatures).encode()
    (found,) = about_usa(third(entries(9)), claims)
    assert found.verdict is Verdict.UNSIGNED


@pytest.mark.parametrize("changed", [frozenset(), frozenset({3})])
def test_what_a_key_that_is_not_known_here_signed_of_a_third_node_cannot_be_compared_and_blames_nobody(
    changed: frozenset[int],
) -> None:
    newer = Holdings.of(USA_WITNESS, entries(15, changed), key=LogKey(b"n" * 32))
    for found in (*about_usa(third(entries(9)), newer), *about_usa(newer, third(entries(9)))):
        assert (found.verdict, found.parts, list(found.evidence)) == (Verdict.UNCOMPARED, False, [])
        assert "signed with no key of USA that is known here: it cannot be compared" in found.finding


def test_what_a_retired_key_alone_signed_of_a_third_node_cannot_be_compared_and_blames_nobody() -> None:
    signers = {**SIGNERS, "USA": Signers("USA", (USA_LOG.public,), (), retired_log=(OLD_LOG.public,))}
    old = Holdings.of(USA_WITNESS, entries(9, frozenset({3})), key=OLD_LOG)
    (found,) = about_usa(third(entries(12)), old, signers)
    assert (found.verdict, found.parts) == (Verdict.UNCOMPARED, False)


def test_two_histories_that_no_pair_of_one_size_shows_are_told_with_both_roots_of_the_smaller_size() -> None:
    ours, theirs = entries(12), entries(15, frozenset({7}))
    (found,) = about_usa(third(ours), third(theirs))
    assert f"of its first 12 entries the root is {root_of(ours).hex()} in what JPN holds" in found.finding
    assert f"{root_of(theirs[:12]).hex()} in what KOR holds" in found.finding
