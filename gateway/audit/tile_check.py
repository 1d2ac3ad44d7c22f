"""Checks the stored tiles of a ledger: they are those that its entries give, and there are no others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.ledger.stores import LedgerId, StoreReader
from gateway.ledger.tiles import TILE_BYTES, TileWrite


@dataclass(slots=True)
class TileCheck:
    """The tiles of one ledger, as its entries give them."""

    store: StoreReader
    ledger: LedgerId
    _filling: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Tiles that are not full, by level and index."""
    _full: int = 0
    """Full tiles that were compared."""
    _differ: bool = False

    def note(self, writes: Iterable[TileWrite]) -> None:
        """Takes note of tiles that entries gave, in order, and compares each as it becomes full."""
        for write in writes:
            if len(write.data) < TILE_BYTES:
                self._filling[(write.level, write.index)] = write.data
                continue
            self._filling.pop((write.level, write.index), None)
            self._full += 1
            if self.store.tile(self.ledger, write.level, write.index) != write.data:
                self._differ = True

    def hold(self) -> bool:
        """Whether the stored tiles are those that the entries gave, and no others."""
        partial = all(self.store.tile(self.ledger, *place) == data for place, data in self._filling.items())
        return partial and not self._differ and self.store.count_tiles(self.ledger) == self._full + len(self._filling)
