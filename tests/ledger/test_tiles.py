"""Tiles hold the tree that the leaves make, are written no more often than needed, and rebuild the edge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger import merkle
from gateway.ledger.errors import ProofError, TileError
from gateway.ledger.merkle import EMPTY_ROOT, Frontier, leaf_hash
from gateway.ledger.tiles import (
    TILE_BYTES,
    TILE_WIDTH,
    Edge,
    TileAddress,
    TileWrite,
    node_reader,
    partial_widths,
    split_tile,
)

# Enough for three tile levels: the third begins at 65,536 leaves.
HASHES = [leaf_hash(b"entry %d" % index) for index in range(66_100)]

Tiles = dict[tuple[int, int], bytes]


def grow(edge: Edge, count: int, tiles: Tiles) -> Edge:
    edge, writes = edge.grow(HASHES[edge.size : edge.size + count])
    tiles.update({(write.level, write.index): write.data for write in writes})
    return edge


def grown(size: int) -> tuple[Edge, Tiles]:
    tiles: Tiles = {}
    return grow(Edge.empty(), size, tiles), tiles


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([0, 200, 65_000]),
    st.lists(st.integers(min_value=0, max_value=300) | st.just(256), max_size=6),
)
def test_any_split_into_batches_makes_the_same_edge_and_tiles(start: int, batches: list[int]) -> None:
    size = min(start + sum(batches), len(HASHES))
    edge, tiles = grown(start)
    for batch in batches:
        edge = grow(edge, min(batch, size - edge.size), tiles)
    assert (edge, tiles) == grown(size)
    assert edge.root() == Frontier.empty().append(HASHES[:size]).root()


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=0, max_value=len(HASHES)) | st.sampled_from([255, 256, 257, 511, 512, 65_535, 65_536]))
def test_an_edge_restored_from_its_partial_tiles_is_the_edge(size: int) -> None:
    edge, tiles = grown(size)
    widths = partial_widths(size)
    stored: list[tuple[bytes, ...]] = []
    for level, width in enumerate(widths):
        if level == 0:
            stored.append(tuple(HASHES[size - width : size]))
        else:
            stored.append(split_tile(tiles[level, size >> 8 * (level + 1)]) if width else ())
    assert Edge.restore(size, stored) == edge


@settings(max_examples=40, deadline=None)
@given(st.integers(min_value=1, max_value=len(HASHES)))
def test_tiles_are_exactly_those_that_the_spec_names_for_the_size_but_for_the_partial_level_0_tile(size: int) -> None:
    _, tiles = grown(size)
    expected = set()
    for level in range(3):
        full, width = divmod(size >> 8 * level, TILE_WIDTH)
        expected |= {((level, index), TILE_WIDTH) for index in range(full)}
        if width and level > 0:
            expected.add(((level, full), width))
    assert {(key, len(data) // 32) for key, data in tiles.items()} == expected


def test_each_hash_of_a_higher_tile_is_the_root_of_the_full_tile_below() -> None:
    _, tiles = grown(65_536 + 256)
    for (level, index), data in tiles.items():
        for position, value in enumerate(split_tile(data)):
            if level > 0:
                below = split_tile(tiles[level - 1, index * TILE_WIDTH + position])
                assert value == Frontier.empty().append(below).root()
            else:
                assert value == HASHES[index * TILE_WIDTH + position]


def test_one_leaf_at_a_time_writes_tiles_only_at_each_256th_leaf() -> None:
    edge = Edge.empty()
    for size in range(1, 1025):
        edge, writes = edge.grow([HASHES[size - 1]])
        if size % 256:
            assert writes == []
        else:
            assert [(write.level, write.index, len(write.data)) for write in writes] == [
                (0, size // 256 - 1, TILE_BYTES),
                (1, 0, size // 256 * 32),
            ]


def test_a_full_level_0_tile_is_its_256_leaf_hashes_written_once() -> None:
    _, writes = Edge.empty().grow(HASHES[:600])
    assert writes == [
        TileWrite(0, 0, b"".join(HASHES[:256])),
        TileWrite(0, 1, b"".join(HASHES[256:512])),
        TileWrite(1, 0, merkle_root(HASHES[:256]) + merkle_root(HASHES[256:512])),
    ]


def merkle_root(hashes: list[bytes]) -> bytes:
    return Frontier.empty().append(hashes).root()


def test_growing_by_nothing_changes_and_writes_nothing() -> None:
    edge, _ = grown(300)
    assert edge.grow([]) == (edge, [])
    assert Edge.empty().grow([]) == (Edge.empty(), [])
    assert Edge.empty().root() == EMPTY_ROOT


def test_the_partial_tiles_of_70_000_leaves_are_as_wide_as_the_spec_says() -> None:
    assert partial_widths(70_000) == (112, 17, 1)
    assert partial_widths(256) == (0, 1)
    assert partial_widths(0) == ()


@pytest.mark.parametrize(
    ("size", "partial"),
    [
        (0, [[]]),
        (1, []),
        (1, [[]]),
        (1, [[bytes(32), bytes(32)]]),
        (1, [[bytes(31)]]),
        (256, [[]]),
        (256, [[bytes(32)], [bytes(32)]]),
        (-1, []),
        (2**63, []),
    ],
)
def test_an_edge_is_not_restored_from_tiles_that_do_not_fit_its_size(size: int, partial: list[list[bytes]]) -> None:
    with pytest.raises(TileError):
        Edge.restore(size, partial)


def test_an_edge_restored_from_wrong_hashes_has_another_root() -> None:
    edge, _ = grown(300)
    partial = [list(hashes) for hashes in edge.partial]
    partial[1][0] = bytes(32)
    assert Edge.restore(300, partial).root() != edge.root()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_proofs_made_from_tiles_hold(data: st.DataObject) -> None:
    ahead = data.draw(st.integers(min_value=1, max_value=len(HASHES)))
    size = data.draw(st.integers(min_value=1, max_value=ahead))
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    edge, tiles = EDGES[ahead] if ahead in EDGES else grown(ahead)
    node = node_reader(size, lambda level, tile: tiles[level, tile], edge)
    root = merkle_root(HASHES[:size])
    merkle.verify_inclusion(HASHES[index], index, size, merkle.inclusion_proof(index, size, node), root)
    old_root = merkle_root(HASHES[: index + 1])
    proof = merkle.consistency_proof(index + 1, size, node)
    merkle.verify_consistency(index + 1, size, old_root, root, proof)


EDGES = {len(HASHES): grown(len(HASHES))}


def test_a_reader_reads_no_partial_tile_and_no_tile_twice_in_a_proof() -> None:
    edge, tiles = EDGES[len(HASHES)]
    read: list[tuple[int, int]] = []

    def read_tile(level: int, index: int) -> bytes:
        read.append((level, index))
        return tiles[level, index]

    for index in (0, 12_345, 65_535, len(HASHES) - 1):
        read.clear()
        merkle.inclusion_proof(index, edge.size, node_reader(edge.size, read_tile, edge))
        assert len(set(read)) == len(read) <= 4
        assert all(len(tiles[key]) == TILE_BYTES for key in read)


def test_a_reader_refuses_a_size_or_subtree_beyond_its_tree_and_a_short_tile() -> None:
    edge, _ = grown(600)
    with pytest.raises(ProofError, match="no state"):
        node_reader(601, lambda level, index: bytes(TILE_BYTES), edge)
    node = node_reader(300, lambda level, index: bytes(TILE_BYTES - 32), edge)
    for level, index in ((0, 300), (8, 1), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(ProofError, match="no perfect subtree"):
            node(level, index)
    with pytest.raises(TileError, match="a full one"):
        node(0, 0)


@pytest.mark.parametrize("length", [0, 31, 33, TILE_BYTES + 32])
def test_a_tile_is_1_to_256_whole_hashes(length: int) -> None:
    with pytest.raises(TileError):
        split_tile(bytes(length))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (TileAddress(0, 0), "tile/0/000"),
        (TileAddress(0, 1_234_067), "tile/0/x001/x234/067"),
        (TileAddress(1, 1000, 17), "tile/1/x001/000.p/17"),
        (TileAddress(None, 273, 112), "tile/entries/273.p/112"),
        (TileAddress(None, 999_999), "tile/entries/x999/999"),
    ],
)
def test_tile_paths_are_spelled_as_in_tlog_tiles(address: TileAddress, path: str) -> None:
    assert address.path() == path
    assert TileAddress.parse(path) == address


@given(
    st.none() | st.integers(min_value=0, max_value=7),
    st.integers(min_value=0, max_value=2**55 - 1),
    st.integers(min_value=1, max_value=256),
)
def test_a_tile_address_is_read_back_from_its_path(level: int | None, index: int, width: int) -> None:
    address = TileAddress(level, index, width)
    assert TileAddress.parse(address.path()) == address


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/00/000",
        "tile/8/000",
        "tile/x/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/000/",
        "tile/0/000\n",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "tile/data/000",
        "tile/0/x999/x999/x999/x999/x999/999",
    ],
)
def test_any_other_tile_path_is_refused(path: str) -> None:
    with pytest.raises(TileError):
        TileAddress.parse(path)
