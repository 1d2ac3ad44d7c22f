"""A file on a disk that may lose power: what of it survives for certain, and what may (the rules are `disk`'s)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

SECTOR: Final = 512


@dataclass(slots=True)
class Write:
    """Bytes at an offset that may be lost. `lost`: a sync of them has failed."""

    offset: int
    data: bytes
    lost: bool = False


@dataclass(slots=True)
class Cut:
    """A truncation to this size that may be lost."""

    size: int


@dataclass(slots=True)
class Inode:
    """A file: `image` survives a loss of power for certain, and what is `volatile` may, the older first."""

    image: bytearray
    volatile: list[Write | Cut] = field(default_factory=list)

    def settle(self) -> None:
        """A sync has succeeded: what was volatile and not lost is durable."""
        lost: list[Write | Cut] = []
        for each in self.volatile:
            if isinstance(each, Cut):
                del self.image[each.size :]
                lost = _without(lost, each.size, None)
            elif each.lost:
                lost.append(each)
            else:
                _put(self.image, each.offset, each.data)
                lost = _without(lost, each.offset, each.offset + len(each.data))
        self.volatile = lost

    def lose(self) -> list[Write]:
        """A sync has failed. Returns the writes that were volatile."""
        failed = [each for each in self.volatile if isinstance(each, Write) and not each.lost]
        for each in failed:
            each.lost = True
        return failed

    def survivors(self, chance: random.Random) -> bytes:
        """What a loss of power leaves."""
        kept = bytearray(self.image)
        # None of it, all of it, or any part: the first two are those that are most easily wrong.
        share = chance.choice((0.0, 1.0, chance.random()))
        for each in self.volatile:
            if isinstance(each, Cut):
                if chance.random() < share:
                    del kept[each.size :]
                continue
            for start, part in sectors(each):
                if chance.random() < share:
                    _put(kept, start, part)
        return bytes(kept)


def sectors(write: Write) -> Iterator[tuple[int, bytes]]:
    """The parts of a write that reach the disk whole or not at all."""
    at, end = write.offset, write.offset + len(write.data)
    while at < end:
        following = min(end, (at // SECTOR + 1) * SECTOR)
        yield at, write.data[at - write.offset : following - write.offset]
        at = following


def _put(image: bytearray, offset: int, data: bytes) -> None:
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data


def _without(writes: list[Write | Cut], start: int, end: int | None) -> list[Write | Cut]:
    """Writes less the bytes from `start` up to `end` (None: to the end), which are settled."""
    left: list[Write | Cut] = []
    for each in writes:
        if isinstance(each, Cut):
            left.append(each)
            continue
        stop = each.offset + len(each.data)
        if stop <= start or (end is not None and each.offset >= end):
            left.append(each)
            continue
        if each.offset < start:
            left.append(Write(each.offset, each.data[: start - each.offset], lost=True))
        if end is not None and stop > end:
            left.append(Write(end, each.data[end - each.offset :], lost=True))
    return left
