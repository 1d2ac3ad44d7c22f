"""Checks one ledger, own or replica, from its first entry to what is signed of its last. In order:

1. Segments follow one another without a gap, and their leaf hashes give the root of every signed checkpoint
   (`gateway.audit.log_key_check`). There is no checkpoint beside those of the segments' ends.
2. Statements about entries hold (`gateway.audit.statement_check`), and every entry opens and holds what it may
   (`gateway.audit.entry_check`).
3. Size and root on record are those that the entries give, and so are the tiles (`gateway.audit.tile_check`).
4. Receipts, post-quantum lines and anchors hold (`gateway.audit.cosignature_check`), and what was signed by keys out of
   use is covered.
5. A ledger is on record as ended if it has a successor. Its receipts cover what it says was confirmed, and a
   post-quantum line what was pruned.

It is read once and in order, one segment at a time. What cannot be read, or gives another root than was signed, ends
the examination: nothing that follows could be believed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from gateway.audit.cosignature_check import CosignatureCheck
from gateway.audit.entry_check import EntryCheck
from gateway.audit.key_history import KnownKeys
from gateway.audit.ledger_check import Examined
from gateway.audit.log_key_check import LogKeyCheck
from gateway.audit.statement_check import StatementCheck
from gateway.audit.tile_check import TileCheck
from gateway.ledger import bundle
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import WITNESS
from gateway.ledger.stores import Run
from gateway.ledger.tiles import Edge
from gateway.seal.entry import MAX_INDEX

MIN_INDEX: Final = -MAX_INDEX - 1
"""The lowest integer that a store holds: what somebody has put below the first entry is looked at as well."""


def examine(ledger: Examined) -> Iterator[str]:
    """Everything that is wrong with one ledger."""
    if ledger.row.replica == (ledger.origin.owner == ledger.node):
        yield "it is on record as a replica, and is this node's own, or the reverse"
    owner = ledger.keys.get(ledger.origin.owner)
    if owner is None:
        yield f"the keys of {ledger.origin.owner} are not known; pin its trust bundle in the configuration"
        return
    yield from _Examination(ledger, owner).findings()


class _Examination:
    def __init__(self, ledger: Examined, owner: KnownKeys) -> None:
        self.ledger = ledger
        self.edge = Edge.empty()
        self.tiles = TileCheck(ledger.store, ledger.row.id)
        self.log_keys = LogKeyCheck(ledger, owner)
        self.statements = StatementCheck(ledger, owner)
        self.entries = EntryCheck(ledger)
        self.cosignatures = CosignatureCheck(ledger, self.log_keys)

    def findings(self) -> Iterator[str]:
        if not (yield from self._segments()):
            return
        yield from self._whole()
        for first, end in ((MIN_INDEX, 0), (self.edge.size, MAX_INDEX)):
            yield from self.statements.about_nothing(first, end)
        yield from self.log_keys.named_later()
        if self.ledger.origin.lane == WITNESS and not self.ledger.row.replica:
            yield from self.ledger.witness.finish()
            self.ledger.check.cosigned = dict.fromkeys(self.ledger.partners, (0, 0))
        yield from self.cosignatures.findings()
        yield from self.log_keys.not_believed()
        yield from self._ending()

    def _segments(self) -> Generator[str, None, bool]:
        """One segment after another, so that every checkpoint on record is checked. Returns whether it came to the
        end.
        """
        ledger = self.ledger
        while True:
            try:
                run = ledger.store.run(ledger.row.id, self.edge.size, 1)
                if run is None:
                    return True
                leaves = list(self._leaves(run))
                self.edge, writes = self.edge.grow(leaves)
                checkpoint, note = self.log_keys.open(run.checkpoint)
            except LedgerError as error:
                yield f"at entry {self.edge.size}: {error}"
                return False
            self.tiles.note(writes)
            if (checkpoint.size, checkpoint.root) != (self.edge.size, self.edge.root()):
                yield (
                    f"the signed checkpoint of size {checkpoint.size} is not what the entries up to"
                    f" {self.edge.size} give"
                )
                return False
            ledger.check.checkpoints += 1
            self.cosignatures.note_checkpoint(self.edge.size, note)
            yield from self.statements.read(run.first, self.edge.size)
            yield from self.statements.compare(run.first, leaves)
            yield from self.entries.findings(run, self.statements.unopenable)

    def _leaves(self, run: Run) -> Iterator[bytes]:
        """The leaf hashes of a run. Raises LedgerError."""
        absent = {item.index: item for item in run.absent}
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
            item = absent.pop(index, None)
            if entry:
                if item is not None:
                    raise LedgerError(f"entry {index} is there, and on record as absent")
                yield leaf_hash(entry)
                continue
            if item is None:
                raise LedgerError(f"entry {index} has neither bytes nor a hash")
            self.statements.note_absent(item)
            yield item.leaf_hash

    def _whole(self) -> Iterator[str]:
        """Whether what is on record of the ledger as a whole is what its entries give."""
        row, store, check = self.ledger.row, self.ledger.store, self.ledger.check
        check.size = self.edge.size
        if (row.size, row.root) != (self.edge.size, self.edge.root()):
            yield f"its size or root on record ({row.size}) is not what the entries give ({self.edge.size})"
        if store.count_checkpoints(row.id) != check.checkpoints:
            yield "there are checkpoints on record that belong to no segment"
        if not self.tiles.hold():
            yield "its tiles are not what the entries give"

    def _ending(self) -> Iterator[str]:
        """Whether the ledger's end is what its receipts say, and what was pruned is covered."""
        row, check = self.ledger.row, self.ledger.check
        if row.agreed is not None and (row.replica or row.successor is None):
            yield f"it has not ended, and is on record as ended with {row.agreed} entries confirmed"
        elif row.agreed and not self.cosignatures.confirmed:
            yield f"it ended with {row.agreed} entries confirmed, and its receipts cover {check.receipt_size}"
        if check.pruned and check.pruned.last >= check.pq_size:
            yield f"entry {check.pruned.last} is pruned, and no post-quantum line covers it"
