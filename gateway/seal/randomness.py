"""Random bytes as an argument, so that what is sealed can be reproduced in a test vector."""

from __future__ import annotations

from collections.abc import Callable

from gateway.seal.errors import KeyMaterialError

Random = Callable[[int], bytes]
"""``random(n)`` gives n fresh bytes, unpredictable to everyone else: `os.urandom`, except in tests."""


def draw(random: Random, size: int) -> bytes:
    """`size` bytes from `random`. Raises KeyMaterialError when it gives another number of bytes."""
    drawn = random(size)
    if len(drawn) != size:
        raise KeyMaterialError(f"the random source gave {len(drawn)} bytes where {size} were asked for; replace it")
    return drawn
