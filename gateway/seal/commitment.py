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
from typing import Final, TypeAlias

from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.ledger.merkle import HASH_SIZE, root_of
from gateway.seal.errors import CommitmentError

SALT_SIZE: Final = 32
"""Length of a salt, bytes."""

MAX_PARTS: Final = 64
"""Most parts of a payload."""

_WHOLE: Final = PartGroup.PART_GROUP_UNSPECIFIED


Fields: TypeAlias = tuple[int, bytes, bytes, bytes]
"""What a part holds: group, salt, content and leaf hash. Read from it once, as protobuf makes bytes anew each time."""


def fields_of(parts: Sequence[Part]) -> list[Fields]:
    """What these parts hold."""
    # A slice, as protobuf's own container is slow to walk.
    return [(part.group, part.salt, part.content, part.leaf_hash) for part in parts[:]]


def commit(parts: Sequence[Part]) -> bytes:
    """The commitment to these parts, 32 bytes. Raises CommitmentError when they break a rule of this module."""
    return commit_fields(fields_of(parts))


def commit_fields(parts: Sequence[Fields]) -> bytes:
    """As `commit`, of parts that were read."""
    leaves = _leaves(parts)
    return root_of(leaves) if len(leaves) > 1 else leaves[0]


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
    leaves = _leaves(fields_of(payload.parts))
    for position in positions:
        if not 0 <= position < len(payload.parts) or payload.parts[position].leaf_hash:
            raise CommitmentError(f"part {position} cannot be disclosed: the payload at hand does not show it")
    disclosed = SealedPayload(
        parts=[
            part if position in positions else Part(leaf_hash=leaf)
            for position, (part, leaf) in enumerate(zip(payload.parts, leaves, strict=True))
        ]
    )
    commit(disclosed.parts)
    return disclosed


def _leaves(parts: Sequence[Fields]) -> list[bytes]:
    """The leaf hashes of these parts, by the rules of this module."""
    count = len(parts)
    if not 1 <= count <= MAX_PARTS:
        raise CommitmentError(f"a payload has {count} parts; it must have 1 to {MAX_PARTS}")
    leaves: list[bytes] = []
    hidden = 0
    for group, salt, content, leaf_hash in parts:
        if len(salt) == SALT_SIZE and not leaf_hash and (0 < group <= 255 or (group == _WHOLE and count == 1)):
            leaves.append(sha256(b"\x00%b%c%b" % (salt, group, content)).digest())
        else:
            leaves.append(_hidden(len(leaves), group, salt, content, leaf_hash, count))
            hidden += 1
    if hidden == count:
        raise CommitmentError("every part of the payload is hidden; at least one must be shown")
    return leaves


def _hidden(position: int, group: int, salt: bytes, content: bytes, leaf_hash: bytes, count: int) -> bytes:
    """The leaf hash of a part that is hidden. Raises CommitmentError where it is neither that nor shown."""
    if leaf_hash:
        if len(leaf_hash) != HASH_SIZE:
            raise CommitmentError(
                f"part {position}: its leaf hash has {len(leaf_hash)} bytes; exactly {HASH_SIZE} are needed"
            )
        if group != _WHOLE or salt or content:
            raise CommitmentError(f"part {position} is hidden, and so may have a leaf hash alone; it has more")
        return leaf_hash
    if len(salt) != SALT_SIZE:
        raise CommitmentError(f"part {position}: its salt has {len(salt)} bytes; exactly {SALT_SIZE} are needed")
    if not 0 <= group <= 255:
        raise CommitmentError(f"part {position}: group {group} is not between 0 and 255")
    raise CommitmentError(f"part {position} is the whole content, yet one of {count} parts; it must be alone")
