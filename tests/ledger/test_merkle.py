"""The Merkle tree is RFC 6962's, and its proofs prove nothing else."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.errors import ProofError
from gateway.ledger.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.ledger import reference_tree as rfc

DATA = rfc.leaves(64)
HASHES = [leaf_hash(data) for data in DATA]
ROOTS = [rfc.mth(DATA[:size]) for size in range(len(DATA) + 1)]
NODE = rfc.node_of(DATA)
WRONG = bytes(32)
WRONG_LENGTH = "hashes, not|must be empty|bytes, not 32"


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_hashes_are_separated_by_domain_as_in_rfc_6962() -> None:
    assert leaf_hash(b"x") == sha256(b"\x00x").digest()
    assert node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.lists(st.integers(min_value=0, max_value=40), max_size=8))
def test_a_frontier_has_the_rfc_root_however_the_leaves_are_batched(batches: list[int]) -> None:
    data = rfc.leaves(sum(batches))
    hashes = [leaf_hash(entry) for entry in data]
    frontier = Frontier.empty()
    for batch in batches:
        frontier = frontier.append(hashes[frontier.size : frontier.size + batch])
        assert frontier.root() == rfc.mth(data[: frontier.size])
    assert frontier == Frontier.empty().append(hashes)


def test_the_peaks_of_a_frontier_are_its_perfect_subtrees_largest_first() -> None:
    frontier = Frontier.empty().append(HASHES[:13])
    assert frontier.peaks == (rfc.mth(DATA[:8]), rfc.mth(DATA[8:12]), rfc.mth(DATA[12:13]))


def test_appending_reports_the_subtrees_that_it_completes() -> None:
    _, completed = Frontier.empty().append(HASHES[:3]).append_completing(HASHES[3:16], 2)
    assert completed == [
        (2, rfc.mth(DATA[0:4])),
        (2, rfc.mth(DATA[4:8])),
        (2, rfc.mth(DATA[8:12])),
        (2, rfc.mth(DATA[12:16])),
        (4, rfc.mth(DATA[0:16])),
    ]


@pytest.mark.parametrize(
    ("size", "peaks"),
    [(1, ()), (0, (WRONG,)), (2, (WRONG, WRONG)), (1, (b"short",)), (-1, ()), (MAX_SIZE + 1, (WRONG,))],
)
def test_a_frontier_whose_peaks_do_not_fit_its_size_is_refused(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ProofError):
        Frontier(size, peaks)


def test_a_leaf_hash_of_another_length_is_not_appended() -> None:
    with pytest.raises(ProofError, match="31 bytes"):
        Frontier.empty().append([WRONG, b"x" * 31])


def test_inclusion_proofs_are_the_rfc_paths_and_hold_for_every_leaf_of_every_size_up_to_40() -> None:
    for size in range(1, 41):
        for index in range(size):
            proof = inclusion_proof(index, size, NODE)
            assert list(proof) == rfc.path(index, DATA[:size])
            verify_inclusion(HASHES[index], index, size, proof, ROOTS[size])


def test_consistency_proofs_are_the_rfc_proofs_and_hold_for_all_pairs_up_to_40() -> None:
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, NODE)
            assert list(proof) == rfc.proof(old, DATA[:new])
            verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


@given(st.data())
def test_an_inclusion_proof_holds_for_no_other_leaf_size_or_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(min_value=1, max_value=64))
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    proof = inclusion_proof(index, size, NODE)
    other_size = data.draw(st.integers(min_value=1, max_value=64).filter(lambda n: n != size))
    other_index = data.draw(st.integers(min_value=0, max_value=63).filter(lambda n: n != index))
    for leaf, at, of, root in (
        (HASHES[other_index], index, size, ROOTS[size]),
        (HASHES[index], other_index, size, ROOTS[size]),
        (HASHES[index], index, size, ROOTS[other_size]),
        (HASHES[index], index, other_size, ROOTS[other_size]),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, at, of, proof, root)


@given(st.data())
def test_a_flipped_bit_anywhere_breaks_an_inclusion_proof(data: st.DataObject) -> None:
    size = data.draw(st.integers(min_value=1, max_value=64))
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    parts = [HASHES[index], ROOTS[size], *inclusion_proof(index, size, NODE)]
    which = data.draw(st.integers(min_value=0, max_value=len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(min_value=0, max_value=255)))
    with pytest.raises(ProofError):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(st.data())
def test_a_flipped_bit_anywhere_breaks_a_consistency_proof(data: st.DataObject) -> None:
    new = data.draw(st.integers(min_value=1, max_value=64))
    old = data.draw(st.integers(min_value=1, max_value=new))
    parts = [ROOTS[old], ROOTS[new], *consistency_proof(old, new, NODE)]
    which = data.draw(st.integers(min_value=0, max_value=len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(min_value=0, max_value=255)))
    with pytest.raises(ProofError):
        verify_consistency(old, new, parts[0], parts[1], parts[2:])


def test_a_consistency_proof_holds_for_no_other_pair_of_trees() -> None:
    for new in range(2, 20):
        for old in range(1, new):
            proof = consistency_proof(old, new, NODE)
            for other in range(1, 20):
                if other != old:
                    with pytest.raises(ProofError):
                        verify_consistency(other, new, ROOTS[other], ROOTS[new], proof)
                if other != new:
                    with pytest.raises(ProofError):
                        verify_consistency(old, other, ROOTS[old], ROOTS[other], proof)


def test_a_proof_with_a_hash_missing_spare_or_of_odd_length_is_refused() -> None:
    for size in range(1, 20):
        for index in range(size):
            proof = inclusion_proof(index, size, NODE)
            for bad in (proof[1:], (*proof, WRONG), (WRONG, *proof), tuple(step[:31] for step in proof)):
                if bad != proof:
                    with pytest.raises(ProofError, match=WRONG_LENGTH):
                        verify_inclusion(HASHES[index], index, size, bad, ROOTS[size])
            old = index + 1
            proof = consistency_proof(old, size, NODE)
            for bad in (proof[1:], (*proof, WRONG), (WRONG, *proof), tuple(step + b"\x00" for step in proof)):
                if bad != proof:
                    with pytest.raises(ProofError, match=WRONG_LENGTH):
                        verify_consistency(old, size, ROOTS[old], ROOTS[size], bad)


def test_an_interior_node_does_not_pass_for_a_leaf() -> None:
    with pytest.raises(ProofError):
        verify_inclusion(node_hash(HASHES[0], HASHES[1]), 0, 2, (), ROOTS[2])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (5, 4), (0, MAX_SIZE + 1)])
def test_a_leaf_outside_the_tree_has_no_inclusion_proof(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="no leaf"):
        inclusion_proof(index, size, NODE)
    with pytest.raises(ProofError, match="no leaf"):
        verify_inclusion(HASHES[0], index, size, (), HASHES[0])


@pytest.mark.parametrize(("old", "new"), [(2, 1), (-1, 1), (1, MAX_SIZE + 1)])
def test_a_tree_is_no_prefix_of_a_smaller_one(old: int, new: int) -> None:
    with pytest.raises(ProofError, match="prefix"):
        consistency_proof(old, new, NODE)
    with pytest.raises(ProofError, match="prefix"):
        verify_consistency(old, new, HASHES[0], HASHES[1], ())


def test_every_tree_extends_the_empty_one_by_the_empty_proof_alone() -> None:
    assert consistency_proof(0, 5, NODE) == ()
    verify_consistency(0, 5, EMPTY_ROOT, ROOTS[5], ())
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, ())
    with pytest.raises(ProofError):
        verify_consistency(0, 5, EMPTY_ROOT, ROOTS[5], (WRONG,))
    with pytest.raises(ProofError):
        verify_consistency(0, 5, WRONG, ROOTS[5], ())
    with pytest.raises(ProofError):
        verify_consistency(0, 0, EMPTY_ROOT, WRONG, ())


def test_two_roots_of_one_size_are_a_contradiction() -> None:
    verify_consistency(5, 5, ROOTS[5], ROOTS[5], ())
    with pytest.raises(ProofError, match="two different roots"):
        verify_consistency(5, 5, ROOTS[5], ROOTS[6], ())


def test_a_proof_in_a_tree_of_2_to_the_40_leaves_asks_for_few_nodes() -> None:
    asked: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        asked.append((level, index))
        return WRONG

    size = 2**40 - 1
    inclusion_proof(3, size, node)
    assert len(asked) <= 2 * 40
    asked.clear()
    consistency_proof(2**39 + 12345, size, node)
    assert len(asked) <= 2 * 40
