"""What an entry commits to: a small Merkle tree over the parts of its payload.

The commitment of a payload is the RFC 6962 root (2.1) over the leaf hashes of its parts, in order:

==========  =====================  =====================================================================
leaf data   bytes                  what
==========  =====================  =====================================================================
0           32                     salt, fresh for every part: the leaf hash tells nothing of the content
32          1                      group (`PartGroup`)
33          the rest, 0 or more    content
==========  =====================  =====================================================================

leaf hash = SHA-256(0x00 || leaf data); node = SHA-256(0x01 || left || right). A payload of one part has its leaf hash
as its commitment.

Rules for the parts of a payload, in order:

1. There are 1 to 64 parts.
2. A part is either *shown* (salt of 32 bytes, group 0 to 255, any content, no leaf hash) or *hidden* (leaf hash of 32
   bytes, group 0, no salt, no content). There is nothing between. A group that this version does not name is allowed.
3. A shown part of group 0 (the whole content) is the only part.
4. At least one part is shown.

A shown part is proved to be a part of what was committed to, under its group. Where parts are hidden, their number is
not proved: one hidden hash may stand for a run of neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Final

from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.ledger.merkle import HASH_SIZE, root_of
from gateway.seal.errors import CommitmentError

SALT_SIZE: Final = 32
"""Length of a salt, bytes."""

MAX_PARTS: Final = 64
"""Most parts of a payload."""

_WHOLE: Final = PartGroup.PART_GROUP_UNSPECIFIED


def commit(parts: Sequence[Part]) -> bytes:
    """The commitment to these parts, 32 bytes. Raises CommitmentError when they break a rule of this module."""
    if not 1 <= len(parts) <= MAX_PARTS:
        raise CommitmentError(f"a payload has {len(parts)} parts; it must have 1 to {MAX_PARTS}")
    leaves = [_leaf(position, part, len(parts)) for position, part in enumerate(parts)]
    if all(part.leaf_hash for part in parts):
        raise CommitmentError("every part of the payload is hidden; at least one must be shown")
    return root_of(leaves)


def check(parts: Sequence[Part], commitment: bytes) -> None:
    """Check that these parts, some of them perhaps hidden, are what `commitment` (32 bytes) stands for.

    Raises CommitmentError when they are not, or break a rule of this module.
    """
    if commit(parts) != commitment:
        raise CommitmentError("the parts of the payload are not the ones that the entry committed to")


def disclose(payload: SealedPayload, groups: Collection[PartGroup.ValueType]) -> SealedPayload:
    """The payload with the parts of these groups as they are, and every other as its leaf hash.

    The result has the same commitment. A group of which the payload shows no part is passed over. Raises
    CommitmentError when nothing would be shown, or the payload breaks a rule of this module.
    """
    shown = [i for i, part in enumerate(payload.parts) if not part.leaf_hash and part.group in groups]
    return disclose_parts(payload, shown)


def disclose_parts(payload: SealedPayload, positions: Collection[int]) -> SealedPayload:
    """As `disclose`, by the positions of the parts to show (from 0): for one of several parts of the same group."""
    commit(payload.parts)
    for position in positions:
        if not 0 <= position < len(payload.parts) or payload.parts[position].leaf_hash:
            raise CommitmentError(f"part {position} cannot be disclosed: the payload at hand does not show it")
    disclosed = SealedPayload(
        parts=[
            part if position in positions else Part(leaf_hash=_leaf(position, part, len(payload.parts)))
            for position, part in enumerate(payload.parts)
        ]
    )
    commit(disclosed.parts)
    return disclosed


def _leaf(position: int, part: Part, count: int) -> bytes:
    salt, group = part.salt, part.group
    if len(salt) == SALT_SIZE and not part.leaf_hash and (0 < group <= 255 or (group == _WHOLE and count == 1)):
        return sha256(b"\x00%b%c%b" % (salt, group, part.content)).digest()
    if part.leaf_hash:
        if len(part.leaf_hash) != HASH_SIZE:
            raise CommitmentError(
                f"part {position}: its leaf hash has {len(part.leaf_hash)} bytes; exactly {HASH_SIZE} are needed"
            )
        if part.group != _WHOLE or part.salt or part.content:
            raise CommitmentError(f"part {position} is hidden, and so may have a leaf hash alone; it has more")
        return part.leaf_hash
    if len(part.salt) != SALT_SIZE:
        raise CommitmentError(f"part {position}: its salt has {len(part.salt)} bytes; exactly {SALT_SIZE} are needed")
    if not 0 <= part.group <= 255:
        raise CommitmentError(f"part {position}: group {part.group} is not between 0 and 255")
    raise CommitmentError(f"part {position} is the whole content, yet one of {count} parts; it must be alone")
