"""Two nodes that share a ledger, a third that does not, and random bytes that are the same every time."""

from __future__ import annotations

from hashlib import shake_256

from gateway.seal.keys import SealingPrivateKey
from gateway.seal.randomness import Random

ORIGIN = "signalfire/v1/JPN/KOR/flash/1"


def seeded(seed: str) -> Random:
    """A random source that gives the same bytes for the same seed: each call draws on from where the last ended."""
    drawn = 0

    def random(size: int) -> bytes:
        nonlocal drawn
        drawn += size
        return shake_256(seed.encode()).digest(drawn)[-size:]

    return random


JPN = SealingPrivateKey.generate(seeded("JPN sealing key"))
KOR = SealingPrivateKey.generate(seeded("KOR sealing key"))
USA = SealingPrivateKey.generate(seeded("USA sealing key"))

READERS = [("KOR", KOR.public), ("JPN", JPN.public)]


def flipped(value: bytes, bit: int) -> bytes:
    """`value` with one bit turned, counted from the lowest of the first byte."""
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
