"""What goes over the relay's wire: serialised reports, each with a number, many in a message."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

SUBMIT: Final = "/relay.Relay/Submit"
"""Bidirectional. Frames of new reports (numbers say nothing) one way; the count of those that are durable the other."""
SUBSCRIBE: Final = "/relay.Relay/Subscribe"
"""One `Wish`; frames of what was received, without end. First an empty message: the subscription is in force."""
FOLLOW: Final = "/relay.Relay/Follow"
"""Bidirectional. Numbers up to which the follower has all, one way; frames after the first of them the other."""

NUMBER: Final = struct.Struct(">Q")


class Frame(NamedTuple):
    """A serialised report."""

    number: int
    precedence: int
    body: bytes


class Wish(NamedTuple):
    """What a subscriber wants: what comes after `number`, of this precedence at least, so many in a message."""

    number: int
    precedence: int
    chunk: int


LATEST: Final = (1 << 64) - 1
"""As the number of a wish: what comes from now on."""

_FRAME: Final = struct.Struct(">QBI")
_WISH: Final = struct.Struct(">QBH")


def encode(frames: Iterable[Frame]) -> bytes:
    """Frames, one after another."""
    parts = []
    for number, precedence, body in frames:
        parts.append(_FRAME.pack(number, precedence, len(body)))
        parts.append(body)
    return b"".join(parts)


def decode(message: bytes) -> list[Frame]:
    """The same read. Raises struct.error."""
    frames = []
    at = 0
    while at < len(message):
        number, precedence, size = _FRAME.unpack_from(message, at)
        at += _FRAME.size
        frames.append(Frame(number, precedence, message[at : at + size]))
        at += size
    return frames


def chunks(frames: Sequence[Frame], chunk: int) -> Iterable[bytes]:
    """Messages of so many frames at the most."""
    return (encode(frames[at : at + chunk]) for at in range(0, len(frames), chunk))


def encode_wish(wish: Wish) -> bytes:
    """A wish."""
    return _WISH.pack(*wish)


def decode_wish(message: bytes) -> Wish:
    """The same read. Raises struct.error."""
    return Wish(*_WISH.unpack(message))


def encode_number(number: int) -> bytes:
    """A number, or a count."""
    return NUMBER.pack(number)


def decode_number(message: bytes) -> int:
    """The same read. Raises struct.error."""
    number: int = NUMBER.unpack(message)[0]
    return number
