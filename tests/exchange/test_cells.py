"""Cells: of one size whatever they hold; opened in order or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.tunnels.cells import (
    CELL,
    CHANNELS,
    MAX_DATA,
    ROOM,
    SHARE,
    TAG,
    CellError,
    CellOpener,
    CellSealer,
    Frame,
    Kind,
    Outbox,
)
from gateway.seal.errors import WrapError
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.tunnel import Ends, cell_keys, unwrap_secret, wrap_secret

KEY = bytes(range(32))
ENDS = Ends("JPN", "KOR", "USA")
VECTORS = Path(__file__).parents[1] / "vectors" / "cells.json"

frames = st.one_of(
    st.builds(Frame, st.just(Kind.OPEN), st.integers(0, 5)),
    st.builds(Frame, st.just(Kind.CLOSE), st.integers(0, 5)),
    st.builds(Frame, st.just(Kind.DATA), st.integers(0, 5), st.binary(min_size=1, max_size=6000)),
)


def through(outbox: Outbox) -> list[Frame]:
    """Everything that waits, sealed and opened again."""
    sealer, opener = CellSealer(KEY), CellOpener(KEY)
    arrived: list[Frame] = []
    while taken := outbox.take():
        cell = sealer.seal(taken)
        assert len(cell) == CELL
        arrived += opener.open(cell)
    return arrived


def control(found: list[Frame]) -> list[Frame]:
    return [frame for frame in found if frame.kind is not Kind.DATA]


def data(found: list[Frame], channel: int) -> bytes:
    return b"".join(frame.data for frame in found if frame.channel == channel)


@given(st.lists(frames, max_size=12))
def test_what_goes_into_a_tunnel_comes_out_in_the_order_of_each_channel(put: list[Frame]) -> None:
    outbox = Outbox()
    wanted: dict[int, bytes] = {}
    for frame in put:
        outbox.put(frame)
        wanted[frame.channel] = b"" if frame.kind is Kind.CLOSE else wanted.get(frame.channel, b"") + frame.data
    arrived = through(outbox)
    assert outbox.size == 0
    assert control(arrived) == control(put)
    for channel in range(len(CHANNELS)):
        assert data(arrived, channel) == wanted.get(channel, b"")


@given(st.lists(frames, max_size=12))
def test_opening_and_closing_wait_for_nothing(put: list[Frame]) -> None:
    outbox = Outbox()
    for frame in put:
        outbox.put(frame)
    arrived = through(outbox)
    assert arrived[: len(control(put))] == control(put)


@given(st.lists(st.integers(1, 60_000), min_size=len(CHANNELS), max_size=len(CHANNELS)))
def test_of_what_waits_the_first_channel_has_most_of_each_cell_and_each_other_one_its_turn(sizes: list[int]) -> None:
    outbox = Outbox()
    for channel, size in enumerate(sizes):
        outbox.put(Frame(Kind.DATA, channel, bytes(size)))
    left, last = dict(enumerate(sizes)), dict.fromkeys(range(len(CHANNELS)), 0)
    for number in range(1, 1000):
        first = min(left, default=None)
        if not (cell := outbox.take()):
            break
        for frame in cell:
            left[frame.channel] -= len(frame.data)
            last[frame.channel] = number
        assert first is not None
        assert left[first] == 0 or len(data(cell, first)) >= ROOM - SHARE - 4
        left = {channel: size for channel, size in left.items() if size}
        assert all(number - last[channel] < len(CHANNELS) for channel in left)
    assert not left


def test_an_alert_overtakes_a_backlog_that_waits() -> None:
    outbox = Outbox()
    outbox.put(Frame(Kind.DATA, CHANNELS.index("routine"), bytes(100_000)))
    outbox.take()
    alert = bytes(3000)
    outbox.put(Frame(Kind.DATA, CHANNELS.index("flash"), alert))
    assert data(outbox.take() + outbox.take(), CHANNELS.index("flash")) == alert


def test_a_cover_cell_cannot_be_told_from_a_full_one() -> None:
    sealer = CellSealer(KEY)
    cover, full = sealer.seal([]), sealer.seal([Frame(Kind.DATA, 1, bytes(MAX_DATA))])
    assert len(cover) == len(full) == CELL
    # Two covers of one tunnel have nothing in common either.
    assert sealer.seal([]) != cover


@pytest.mark.parametrize("fault", ["dropped", "repeated", "swapped", "altered", "of another tunnel", "too short"])
def test_a_cell_that_is_not_the_one_that_was_due_ends_the_tunnel(fault: str) -> None:
    sealer, opener = CellSealer(KEY), CellOpener(KEY)
    first, second, third = (sealer.seal([Frame(Kind.DATA, 1, bytes([n]))]) for n in range(3))
    opener.open(first)
    came = {
        "dropped": third,
        "repeated": first,
        "swapped": third,
        "altered": second[:-1] + bytes([second[-1] ^ 1]),
        "of another tunnel": CellSealer(bytes(32)).seal([]),
        "too short": second[:-1],
    }[fault]
    with pytest.raises(CellError):
        opener.open(came)


@settings(max_examples=200)
@given(st.binary(min_size=ROOM, max_size=ROOM))
def test_whatever_an_end_seals_is_frames_or_is_refused(plain: bytes) -> None:
    cell = AESGCMSIV(KEY).encrypt(bytes(12), plain, None)
    try:
        found = CellOpener(KEY).open(cell)
    except CellError:
        return
    # One spelling: the same frames make the same cell.
    assert CellSealer(KEY).seal(found) == cell


# --- keys


def test_both_ends_have_the_same_keys_and_each_direction_its_own() -> None:
    private = SealingPrivateKey.generate()
    secret, wrap = wrap_secret(ENDS, private.public)
    opened = unwrap_secret(ENDS, wrap, [SealingPrivateKey.generate(), private])
    assert opened == secret
    keys = cell_keys(ENDS, secret, bytes(32))
    assert keys == cell_keys(ENDS, opened, bytes(32))
    assert keys.out != keys.back


def test_a_tunnel_that_is_opened_again_with_the_same_wrap_has_other_keys() -> None:
    secret, _ = wrap_secret(ENDS, SealingPrivateKey.generate().public)
    assert cell_keys(ENDS, secret, bytes(32)) != cell_keys(ENDS, secret, bytes(31) + b"1")


@pytest.mark.parametrize("other", [Ends("JPN", "KOR", "FRA"), Ends("FRA", "KOR", "USA")])
def test_a_wrap_opens_for_its_ends_and_its_carrier_alone(other: Ends) -> None:
    private = SealingPrivateKey.generate()
    _, wrap = wrap_secret(ENDS, private.public)
    with pytest.raises(WrapError, match="made for other ends"):
        unwrap_secret(other, wrap, [private])


def test_a_wrap_for_a_key_that_is_not_held_is_refused() -> None:
    _, wrap = wrap_secret(ENDS, SealingPrivateKey.generate().public)
    with pytest.raises(WrapError, match="needs its present trust bundle"):
        unwrap_secret(ENDS, wrap, [SealingPrivateKey.generate()])


# --- vectors


def opens(opener: CellOpener, cell: bytes) -> bool:
    try:
        opener.open(cell)
    except CellError:
        return False
    return True


def _frames(raw: list[dict[str, str | int]]) -> list[Frame]:
    return [Frame(Kind[str(each["kind"])], int(each["channel"]), bytes.fromhex(str(each["data"]))) for each in raw]


def test_the_vectors_are_what_this_gateway_seals_and_opens() -> None:
    vectors = json.loads(VECTORS.read_text())
    keys = cell_keys(
        Ends(vectors["from"], vectors["to"], vectors["carrier"]),
        bytes.fromhex(vectors["secret"]),
        bytes.fromhex(vectors["nonce"]),
    )
    assert (keys.out.hex(), keys.back.hex()) == (vectors["key_out"], vectors["key_back"])
    sealer, opener = CellSealer(keys.out), CellOpener(keys.out)
    for cell in vectors["cells"]:
        assert sealer.seal(_frames(cell["frames"])).hex() == cell["cell"]
        assert opener.open(bytes.fromhex(cell["cell"])) == _frames(cell["frames"])
    for name, refused in vectors["refused"].items():
        assert not opens(CellOpener(keys.out), bytes.fromhex(refused)), name
    assert len(vectors["cells"][0]["cell"]) == 2 * (ROOM + TAG)
