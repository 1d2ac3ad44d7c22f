"""Taking up a store: opened, read, and after a failure held against what is known to be durable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.errors import StoreConflict, StoreDamaged
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store, StoreReader
from gateway.release.doubt import lacking
from gateway.release.heads import Heads
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys
from gateway.release.plan import LATEST_TIME
from gateway.release.planned.put_off import PUT_OFF, require_ranges
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.room import Room
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer.committing import Committing
from gateway.release.sequencer.known import Known, Planner
from gateway.release.signatory import Signatory
from gateway.release.verdicts import Verdicts

log = logging.getLogger(__package__)

PROBE_BYTES: Final = 1 << 20
"""Bytes that a store which failed has to take before it is used again: as much as a large commit."""


class TakingUp:
    """Opens the store and lets go of it. Belongs to the sequencer's thread."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        read_rulebook: Callable[[StoreReader], Rulebook],
        signatory: Signatory,
        known: Known,
        planner: Planner,
        committing: Committing,
        room: Room,
        opened: Callable[[Collection[Origin]], None],
    ) -> None:
        self._open_store = open_store
        self._read_rulebook = read_rulebook
        self._signatory = signatory
        self._known = known
        self._planner = planner
        self._committing = committing
        self._room = room
        self._opened = opened

    def open(self, *, again: bool) -> None:
        """Takes up the store. `again`: after a failure, so it has to show what it can do, and to hold what it held.

        Raises StoreError: StoreDamaged where a commit that is made of nothing but what the store holds contradicts it.
        There is no step to leave out, as there is in `Committing.commit`, and the next try would end in the same way.
        """
        self.abandon()
        store = self._open_store()
        try:
            found = self._read(store)
            if again:
                # Only what can be written again is said to be: not for one commit that happens to fit.
                store.probe(PROBE_BYTES)
                self._require_known(store, found)
            found.latest_ns = int.from_bytes(store.meta(LATEST_TIME) or b"")
        except StoreConflict as error:
            store.abandon()
            raise StoreDamaged(
                f"it contradicts itself: {error}. Restore it from a backup, or begin anew and recover it, as"
                " docs/operations.md says; start with --restored"
            ) from error
        except BaseException:  # it goes on; nothing is left open
            store.abandon()
            raise
        self._known.become(found)
        following = [head.origin for head in found.heads if not head.replica and head.origin.generation > 1]
        if again and following:
            # The commit in doubt may have opened them, and all that was said of that outside is that it was begun.
            self._opened(following)
        self._room.look()

    def _read(self, store: Store) -> Known:
        """What the store holds. From here on this node signs with the keys that are on record in it."""
        # Heads are read from what is durable, and without epochs: no content key outlives a commit in doubt.
        heads = Heads.restore(store)
        # The keys in use are those on record: a commit in doubt may have switched them.
        using = self._signatory.using(keys_on_record(store))
        # What keeps reports back, or has them passed on, is what this gateway wrote.
        require_ranges(store.meta(PUT_OFF), {head.origin: head.edge.size for head in heads if head.replica})
        require_own_keys(store, using)
        self._signatory.adopt(using)
        # So is the policy in force: a commit in doubt may have changed it.
        rulebook = self._read_rulebook(store)
        # A store that an older gateway wrote has its index of decisions made before anything is added to it.
        self._committing.index_decisions(store)
        return Known(heads, Verdicts.restore(store, self._signatory.storage), rulebook, store=store)

    def _require_known(self, store: Store, found: Known) -> None:
        """Holds the store against what this process knows to be durable. Where it lacks some of that, the own ledgers
        concerned end and their next generations open, before anything else is done.
        """
        missing = lacking(self._known.heads, store)
        for origin in missing:
            log.critical("%s: the store does not hold what was durable", origin)
        own = tuple(origin for origin in missing if origin.owner == self._signatory.node)
        if not own:
            # A partner's ledger is fetched again by its follower.
            return
        plan = self._planner.begin(store, found)
        why = "the store that was opened again after a failure lacks what was durable"
        DeclareSetBack(why, own, ledger_pb2.SUCCESSION_REASON_LOST_TAIL).apply(plan)
        plan.finish()
        self._committing.commit_plan(store, plan)
        self._planner.adopt(found, plan)

    def close(self) -> None:
        """Closes the store, in order. Raises StoreError."""
        store, self._known.store = self._known.store, None
        if store is not None:
            store.close()

    def abandon(self) -> None:
        """Lets go of the store as it is, without a further look at it."""
        store, self._known.store = self._known.store, None
        if store is not None:
            store.abandon()
