"""Cells: what goes through a tunnel, in pieces of one size, of which the carrier can read and alter none.

A cell has CELL bytes: 2,032 of frames, sealed by AES-256-GCM-SIV (RFC 8452), and the tag of 16. The nonce is 4 zero
bytes and the number of the cell in its direction as u64 big-endian, from 0; there is no associated data, for the keys
are of one tunnel and one direction (`gateway.seal.tunnel`).

What is sealed is frames one after another, and then zeros:

======  =====  =================================================================================
offset  bytes  what
======  =====  =================================================================================
0       1      kind: 1 open, 2 data, 3 close. 0: no frame any more, and zeros to the end
1       1      channel: 0 to 5
2       2      length of the data, big-endian: 1 to 2,028 with kind 2, and otherwise 0
4       any    data
======  =====  =================================================================================

A *channel* is one connection. A cell without frames is a cover cell. A channel may be opened again after it was closed
by both sides; data for one that is closed is passed over, for both sides may close at once. A close goes before data
that waits, and instead of its own channel's.

Rules for opening a cell, in order:

1. It has CELL bytes.
2. It is authentic under the number that is due: one that was dropped, repeated, moved or altered ends the tunnel.
3. Its frames are as said above; nothing but zeros follows the last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

CELL: Final = 2048
"""Bytes of a cell on its way."""

TAG: Final = 16
ROOM: Final = CELL - TAG
"""Bytes of frames in one cell."""

_HEAD: Final = Struct(">BBH")
MAX_DATA: Final = ROOM - _HEAD.size
"""Bytes of data in one frame."""

CHANNELS: Final = ("heartbeat", "flash", "immediate", "priority", "routine", "witness")
"""What each channel is for, by number: where several have something to send, the first goes first."""

SHARE: Final = ROOM // 4
"""Bytes of each cell that belong to channels which are not the first of those that wait: in what is left an alert of
3,000 bytes goes in two cells as it does alone, and 12 KB/s at the lowest of the paces keep any stream alive."""

_NUMBER: Final = Struct(">Q")
_NONCE_PREFIX: Final = bytes(4)


class CellError(Exception):
    """A cell that is not what was due, or what it holds has no place there: the tunnel cannot go on."""


class Kind(IntEnum):
    """What a frame says."""

    OPEN = 1
    DATA = 2
    CLOSE = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `data` is empty unless it is of kind DATA."""

    kind: Kind
    channel: int
    data: bytes = b""


class CellSealer:
    """Seals the cells of one direction, in order."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCMSIV(key)
        self._number = 0

    def seal(self, frames: Sequence[Frame]) -> bytes:
        """The next cell. Raises CellError for frames that do not fit, or are none."""
        plain = b"".join(_encode(frame) for frame in frames)
        if len(plain) > ROOM:
            raise CellError(f"frames of {len(plain)} bytes do not fit into a cell, which has room for {ROOM}")
        nonce = _NONCE_PREFIX + _NUMBER.pack(self._number)
        self._number += 1
        return self._cipher.encrypt(nonce, plain.ljust(ROOM, b"\x00"), None)


class CellOpener:
    """Opens the cells of one direction, in order."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCMSIV(key)
        self._number = 0

    def open(self, cell: bytes) -> list[Frame]:
        """The frames of the next cell. Raises CellError, after which nothing of this tunnel can be opened."""
        if len(cell) != CELL:
            raise CellError(f"a cell of {len(cell)} bytes came, and every cell has {CELL}")
        try:
            plain = self._cipher.decrypt(_NONCE_PREFIX + _NUMBER.pack(self._number), cell, None)
        except InvalidTag as error:
            raise CellError(
                f"cell {self._number} is not the one that the other end sent: on the way cells were dropped, repeated,"
                " moved or altered"
            ) from error
        self._number += 1
        return _decode(plain)


def _encode(frame: Frame) -> bytes:
    fits = 1 <= len(frame.data) <= MAX_DATA if frame.kind is Kind.DATA else not frame.data
    if not fits or not 0 <= frame.channel < len(CHANNELS):
        raise CellError(f"a frame of kind {frame.kind.name}, channel {frame.channel}, {len(frame.data)} bytes is none")
    return _HEAD.pack(frame.kind, frame.channel, len(frame.data)) + frame.data


def _decode(plain: bytes) -> list[Frame]:
    frames = []
    place = 0
    while place < len(plain) and plain[place]:
        if len(plain) - place < _HEAD.size:
            raise CellError("the last frame of a cell has no room for its head")
        kind, channel, length = _HEAD.unpack_from(plain, place)
        place += _HEAD.size
        if kind not in (*Kind,) or channel >= len(CHANNELS):
            raise CellError(f"a frame of kind {kind} for channel {channel} is not known")
        if (length == 0) == (kind == Kind.DATA) or (kind != Kind.DATA and length) or length > len(plain) - place:
            raise CellError(f"a frame of kind {kind} has {length} bytes of data, which has no place there")
        frames.append(Frame(Kind(kind), channel, plain[place : place + length]))
        place += length
    if any(plain[place:]):
        raise CellError("something follows the last frame of a cell")
    return frames


@dataclass(slots=True)
class Outbox:
    """What waits to go through a tunnel.

    1. Opening and closing go before any data, in their own order. What a channel still had to say when it is closed is
       dropped: there is nobody any more who waits for it.
    2. Of the data the first channel goes first. A backlog in one starves none: where several wait, SHARE bytes of each
       cell belong to one of the others, which take turns.
    """

    _control: deque[Frame] = field(default_factory=deque)
    _waiting: dict[int, deque[bytes]] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    _turn: int = 0
    """The channel that had the last share."""

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return _HEAD.size * len(self._control) + sum(self._sizes.values())

    def of(self, channel: int) -> int:
        """Bytes of data that wait in a channel."""
        return self._sizes.get(channel, 0)

    def closes(self, channel: int) -> bool:
        """Whether the closing of a channel waits."""
        return any(frame.channel == channel and frame.kind is Kind.CLOSE for frame in self._control)

    def put(self, frame: Frame) -> None:
        """Adds what is to go; data may be of any length."""
        if frame.kind is Kind.DATA:
            self._waiting.setdefault(frame.channel, deque()).append(frame.data)
            self._sizes[frame.channel] = self.of(frame.channel) + len(frame.data)
            return
        if frame.kind is Kind.CLOSE:
            self._drop(frame.channel)
        self._control.append(frame)

    def take(self) -> list[Frame]:
        """The frames of the next cell, and none where nothing waits: as much as has room."""
        frames: list[Frame] = []
        room = ROOM
        while self._control and room >= _HEAD.size:
            frames.append(self._control.popleft())
            room -= _HEAD.size
        if (shared := self._shares()) is not None:
            self._turn = shared
            room -= self._take_data(shared, min(SHARE, room), frames)
        for channel in sorted(self._waiting):
            room -= self._take_data(channel, room, frames)
        return frames

    def _shares(self) -> int | None:
        """The channel whose turn it is to have a share although another one goes first."""
        later = sorted(self._waiting)[1:]
        return next((channel for channel in later if channel > self._turn), next(iter(later), None))

    def _take_data(self, channel: int, room: int, frames: list[Frame]) -> int:
        """Moves data of a channel to the frames of a cell; returns how many bytes of room it takes, at most `room`."""
        queue, taken = self._waiting[channel], 0
        while queue and room - taken > _HEAD.size:
            data = queue.popleft()
            piece = data[: room - taken - _HEAD.size]
            if len(piece) < len(data):
                queue.appendleft(data[len(piece) :])
            frames.append(Frame(Kind.DATA, channel, piece))
            taken += _HEAD.size + len(piece)
            self._sizes[channel] -= len(piece)
        if not queue:
            self._drop(channel)
        return taken

    def _drop(self, channel: int) -> None:
        self._waiting.pop(channel, None)
        self._sizes.pop(channel, None)
