"""Opening sealed entries, of partners' ledgers and of this node's own.

An epoch's key is unwrapped once, from the entry that opened the epoch, and kept in memory for as long as entries of
that epoch are being opened. Only entries that stand in a verified ledger may be given to `Opener`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2

from gateway.ledger.origin import Origin
from gateway.seal.entry import EntryKind, Header, parse_header, require_place
from gateway.seal.epoch import Epoch, content_of
from gateway.seal.errors import OpenError
from gateway.seal.keys import SealingPrivateKey

KEPT_LEDGERS: Final = 256
"""Ledgers whose epochs are kept in memory: four lanes of some tens of partners, and generations that ended."""

KEPT_EPOCHS: Final = 4
"""Unwrapped epochs kept of one ledger: its newest, and those in which a subscriber catches up. A partner that opens
many has only its own put out."""


class Opener:
    """Opens entries as one of their readers. For use in one thread."""

    def __init__(self, node: str, keys: Sequence[SealingPrivateKey]) -> None:
        self._node = node
        self._keys = keys
        self._epochs: OrderedDict[Origin, OrderedDict[int, Epoch]] = OrderedDict()

    def learn(self, origin: Origin, index: int, entry: bytes, fetch: Callable[[int], bytes]) -> None:
        """Unwraps the epoch that the entry at `index` opens, or is sealed in where that is not in memory.

        Raises SealError when the epoch cannot be had.
        """
        self._epoch_for(origin, index, parse_header(entry), entry, fetch)

    def payload(
        self, origin: Origin, index: int, entry: bytes, fetch: Callable[[int], bytes]
    ) -> ledger_pb2.SealedPayload | None:
        """The payload of a sealed entry; None for an entry that only opens an epoch, which is unwrapped on the way.

        `fetch` gives the verified entry at an index of the same ledger, for the opening of an epoch not seen yet.
        Raises SealError when the entry is malformed or this node cannot open it.
        """
        header = parse_header(entry)
        epoch = self._epoch_for(origin, index, header, entry, fetch)
        return None if header.kind is EntryKind.EPOCH_OPENING else epoch.open(index, entry)

    def content(
        self, origin: Origin, index: int, entry: bytes, fetch: Callable[[int], bytes]
    ) -> ledger_pb2.EntryContent | None:
        """The content of a sealed entry that shows all of its parts; None for the opening of an epoch. Raises
        SealError.
        """
        payload = self.payload(origin, index, entry, fetch)
        if payload is None:
            return None
        try:
            content = ledger_pb2.EntryContent.FromString(content_of(payload))
        except DecodeError as error:
            raise OpenError(f"{origin} entry {index}: its content is not an EntryContent") from error
        # What the contract does not define is dropped at this door as at every other.
        content.DiscardUnknownFields()
        return content

    def _epoch_for(
        self, origin: Origin, index: int, header: Header, entry: bytes, fetch: Callable[[int], bytes]
    ) -> Epoch:
        """The epoch that the entry at `index` opens, or is sealed in."""
        require_place(header, index)
        if header.kind is EntryKind.EPOCH_OPENING:
            return self._unwrap(origin, index, entry)
        return self._epoch(origin, header.epoch, fetch)

    def _epoch(self, origin: Origin, index: int, fetch: Callable[[int], bytes]) -> Epoch:
        kept = self._epochs.get(origin)
        epoch = None if kept is None else kept.get(index)
        if kept is None or epoch is None:
            return self._unwrap(origin, index, fetch(index))
        self._epochs.move_to_end(origin)
        kept.move_to_end(index)
        return epoch

    def _unwrap(self, origin: Origin, index: int, opening: bytes) -> Epoch:
        epoch = Epoch.from_opening(str(origin), opening, index, self._node, self._keys)
        kept = self._epochs.setdefault(origin, OrderedDict())
        kept[index] = epoch
        kept.move_to_end(index)
        self._epochs.move_to_end(origin)
        if len(kept) > KEPT_EPOCHS:
            kept.popitem(last=False)
        if len(self._epochs) > KEPT_LEDGERS:
            self._epochs.popitem(last=False)
        return epoch
