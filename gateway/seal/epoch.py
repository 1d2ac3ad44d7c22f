"""Epochs: runs of entries of one ledger that are sealed under one content key.

An entry at `index` is sealed by AES-256-GCM-SIV (RFC 8452) under the content key of its epoch:

===============  ===============================================================================================
input            value
===============  ===============================================================================================
nonce            4 zero bytes, then the index as u64 big-endian: 12 bytes
associated data  origin line, UTF-8; 0x00; the index as u64 big-endian; the 44 bytes of the entry's header
plaintext        see `gateway.seal.entry`
===============  ===============================================================================================

so that a ciphertext opens in its own ledger, at its own index, under its own header, and nowhere else.

Rules for sealing, in order:

1. Only the process that opened an epoch seals in it: one that was read back from its opening never does.
2. Every index is above the epoch's own and above every index sealed before, even where that entry was never
   committed. So no nonce occurs twice under a content key. After a doubtful commit, open a new epoch.
3. Every shown part has a salt.

Rules for opening, in order:

1. The entry follows the layout of `gateway.seal.entry`, stands in a place where it can, and holds sealed content.
2. Its header names this epoch.
3. The ciphertext is authentic.
4. The plaintext follows the rules of `gateway.seal.entry`.
5. The parts follow the rules of `gateway.seal.commitment`, and are what the header commits to. GCM-SIV does not bind a
   ciphertext to one key; this does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from struct import Struct
from threading import Lock
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.seal import commitment
from gateway.seal.entry import (
    HEADER_SIZE,
    MAX_INDEX,
    NO_COMMITMENT,
    EntryKind,
    encode_header,
    encode_payload,
    pad,
    parse_canonical,
    parse_header,
    require_place,
    unpad,
)
from gateway.seal.errors import EntryError, KeyMaterialError, NonceError, OpenError
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.randomness import Random, draw
from gateway.seal.wrap import CONTENT_KEY_SIZE, encode_opening, parse_opening, unwrap

MAX_CONTENT_SIZE: Final = 64_978
"""Largest content that `Epoch.seal` takes, bytes."""

_U64: Final = Struct(">Q")
_NONCE: Final = Struct(">4xQ")
_WHOLE: Final = PartGroup.PART_GROUP_UNSPECIFIED


class Epoch:
    """The content key of one epoch of one ledger, in memory only: it is never written, copied or shown.

    Made by `open_new` or `from_opening`. May be shared between threads.
    """

    __slots__ = ("_ad_prefix", "_cipher", "_last_sealed", "_lock", "_seals", "index", "origin_line")

    def __init__(self, origin_line: str, index: int, content_key: bytes, *, seals: bool) -> None:
        """Only for `open_new` (which alone may say `seals`) and `from_opening`."""
        if len(content_key) != CONTENT_KEY_SIZE:
            raise KeyMaterialError(f"a content key has {len(content_key)} bytes; exactly {CONTENT_KEY_SIZE} are needed")
        self.origin_line = origin_line
        self.index = index
        self._ad_prefix = _encode_origin(origin_line) + b"\x00"
        self._cipher = AESGCMSIV(content_key)
        self._seals = seals
        self._last_sealed = index
        self._lock = Lock()

    @classmethod
    def open_new(
        cls,
        origin_line: str,
        index: int,
        readers: Sequence[tuple[str, SealingPublicKey]],
        random: Random = os.urandom,
    ) -> tuple[Epoch, bytes]:
        """A new epoch, and the entry that opens it, which has to be committed at `index` before any that it seals.

        `readers` are nodes with their keys: the recipient and the origin itself. When the entry is not committed at
        exactly this index, throw the epoch away. Raises EntryError for an impossible index or origin line, WrapError
        and PayloadTooLarge for impossible readers, KeyMaterialError when `random` fails.
        """
        if not 0 <= index <= MAX_INDEX:
            raise EntryError(f"index {index} is not between 0 and 2**63 - 1")
        content_key = draw(random, CONTENT_KEY_SIZE)
        body = encode_opening(_encode_origin(origin_line), index, content_key, readers)
        entry = encode_header(EntryKind.EPOCH_OPENING, 0, index, NO_COMMITMENT) + body
        return cls(origin_line, index, content_key, seals=True), entry

    @classmethod
    def from_opening(
        cls, origin_line: str, entry: bytes, index: int, node: str, private_keys: Sequence[SealingPrivateKey]
    ) -> Epoch:
        """The epoch that `entry` opened, for `node` to read with; it will not seal.

        The caller must already have verified that `entry` stands at `index` of this ledger, under a checkpoint that
        the origin signed: a wrap by itself proves nothing about who made it. Raises EntryError when the entry is
        malformed or no opening, WrapError when its key cannot be had.
        """
        header = parse_header(entry)
        require_place(header, index)
        if header.kind is not EntryKind.EPOCH_OPENING:
            raise EntryError(f"the entry at index {index} does not open an epoch")
        opening = parse_opening(entry[HEADER_SIZE:])
        content_key = unwrap(_encode_origin(origin_line), index, opening, node, private_keys)
        return cls(origin_line, index, content_key, seals=False)

    def seal(self, index: int, content: bytes, random: Random = os.urandom) -> bytes:
        """The entry at `index` that holds `content` (a serialised `EntryContent`) as one part.

        `content` has at most MAX_CONTENT_SIZE bytes. Raises PayloadTooLarge, and then `index` can still be sealed;
        NonceError by the rules for sealing; KeyMaterialError when `random` fails.
        """
        return self._seal(index, [(_WHOLE, draw(random, commitment.SALT_SIZE), content, b"")])

    def seal_parts(self, index: int, parts: Sequence[Part], random: Random = os.urandom) -> bytes:
        """The entry at `index` that holds these parts; each shown part without a salt is given a fresh one.

        A part that has its salt keeps it, and a hidden one its leaf hash: so parts that an originator committed to
        can be passed on. Then the commitment, which anyone can see, is the originator's own. The parts given are not
        changed. Raises as `seal`, and CommitmentError when the parts break a rule of `gateway.seal.commitment`.
        """
        salts = draw(random, commitment.SALT_SIZE * len(parts))
        fields: list[commitment.Fields] = []
        for at, (group, salt, content, leaf_hash) in enumerate(commitment.fields_of(parts)):
            if not salt and not leaf_hash:
                salt = salts[commitment.SALT_SIZE * at : commitment.SALT_SIZE * (at + 1)]
            fields.append((group, salt, content, leaf_hash))
        return self._seal(index, fields)

    def open(self, index: int, entry: bytes) -> SealedPayload:
        """What the entry at `index` holds, verified by the rules for opening.

        Raises EntryError, OpenError or CommitmentError.
        """
        header = parse_header(entry)
        require_place(header, index)
        if header.kind is not EntryKind.SEALED_CONTENT:
            raise OpenError(f"the entry at index {index} opens an epoch; it holds no content")
        if header.epoch != self.index:
            raise OpenError(f"the entry at index {index} is sealed under epoch {header.epoch}, not {self.index}")
        try:
            plaintext = self._cipher.decrypt(
                _NONCE.pack(index), entry[HEADER_SIZE:], self._ad_prefix + _U64.pack(index) + entry[:HEADER_SIZE]
            )
        except InvalidTag as error:
            raise OpenError(
                f"the entry at index {index} of {self.origin_line} does not open under epoch {self.index}: it was "
                "sealed for another place or under another key, or altered"
            ) from error
        payload = parse_canonical(unpad(plaintext, header.padding_class), SealedPayload)
        if payload is None:
            raise OpenError(f"the entry at index {index} holds no SealedPayload in canonical form")
        commitment.check(payload.parts, header.commitment)
        return payload

    def _seal(self, index: int, parts: Sequence[commitment.Fields]) -> bytes:
        committed = commitment.commit_fields(parts)
        padding, plaintext = pad(encode_payload(parts))
        header = encode_header(EntryKind.SEALED_CONTENT, padding, self.index, committed)
        self._claim(index)
        return header + self._cipher.encrypt(_NONCE.pack(index), plaintext, self._ad_prefix + _U64.pack(index) + header)

    def _claim(self, index: int) -> None:
        """Use up the nonce of `index`, and of every one below. Raises NonceError."""
        if not self._seals:
            raise NonceError(f"epoch {self.index} of {self.origin_line} was only read back; open a new one to seal")
        if index > MAX_INDEX:
            raise NonceError(f"index {index} is above 2**63 - 1; open the next generation of the ledger")
        with self._lock:
            if index <= self._last_sealed:
                raise NonceError(
                    f"epoch {self.index} of {self.origin_line} has gone up to index {self._last_sealed} and cannot "
                    f"seal at {index}; open a new epoch"
                )
            self._last_sealed = index

    def __repr__(self) -> str:
        return f"Epoch(origin_line={self.origin_line!r}, index={self.index})"

    def __reduce__(self) -> NoReturn:
        # A copy would not know what its twin has sealed, and a pickle would carry the key.
        raise TypeError("an Epoch cannot be copied or pickled: its key stays in the process that opened it")


def content_of(payload: SealedPayload) -> bytes:
    """The contents of the parts that the payload shows, joined in order: a serialised `EntryContent`."""
    return b"".join([part.content for part in payload.parts[:]])


def _encode_origin(origin_line: str) -> bytes:
    # Inside `info` and associated data the line ends at its zero byte, so it may hold none.
    if not origin_line or "\x00" in origin_line or "\n" in origin_line:
        raise EntryError(f"origin line {origin_line!r} is empty, or holds a zero byte or a newline")
    try:
        return origin_line.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EntryError(f"origin line {origin_line!r} is no Unicode text") from error
