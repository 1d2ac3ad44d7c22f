"""What this process knows to be durable, and the plans that go on from it.

Only a commit that is durable moves it on. It outlives a store that failed: whatever store is opened then is held
against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.ledger.stores import Store
from gateway.release.heads import Heads
from gateway.release.plan import Plan
from gateway.release.recovery.records import Recovery
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.release.verdicts import Verdicts


@dataclass(slots=True)
class Known:
    """What stands in the store, as far as it is kept in memory, and the store while it is open.

    The sequencer's thread changes it while it commits or opens the store, and the event loop while that thread rests.
    The event loop may read the heads and the policy at any time.
    """

    heads: Heads
    verdicts: Verdicts
    """Numbers of the index of decisions."""
    rulebook: Rulebook
    """The policy in force: that of the last durable commit."""
    latest_ns: int = 0
    """The newest time at which the clock was trusted, as the store has it, nanoseconds since 1970; 0: it has none."""
    store: Store | None = None
    """None: it is not open."""

    def become(self, found: Known) -> None:
        """Goes on from what was found in a store that was taken up."""
        self.heads, self.verdicts, self.rulebook = found.heads, found.verdicts, found.rulebook
        self.latest_ns, self.store = found.latest_ns, found.store


class Planner:
    """Begins plans, by this node's keys, its partners and the time as they are then; and follows those that became
    durable.
    """

    def __init__(
        self,
        signatory: Signatory,
        partners: Callable[[], Mapping[str, Partner]],
        now_ns: Callable[[], int],
        clock_trusted: Callable[[], bool],
        partners_shown: Callable[[], bool],
        recovery: Recovery | None,
    ) -> None:
        self._signatory = signatory
        self._partners = partners
        self._now_ns = now_ns
        self._clock_trusted = clock_trusted
        self._partners_shown = partners_shown
        self._recovery = recovery

    def begin(self, store: Store, known: Known) -> Plan:
        """An empty plan for a commit to `store`, which holds what is known."""
        return Plan(
            known.heads,
            store,
            self._signatory,
            self._partners(),
            self._now_ns,
            known.rulebook,
            verdicts=known.verdicts,
            clock_trusted=self._clock_trusted(),
            partners_shown=self._partners_shown(),
            recovery=self._recovery,
        )

    def adopt(self, known: Known, plan: Plan) -> None:
        """Moves on what is known: a plan that went on from it is durable."""
        known.heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        known.verdicts.adopt(plan.given_verdicts)
        if self._recovery is not None and plan.recording is not None:
            self._recovery.adopt(plan.recording)
        if plan.signatory is not self._signatory:
            # The commit that took other keys into use is durable: from here on everything is signed with them.
            self._signatory.adopt(plan.signatory)
        if plan.rulebook.suspended != known.rulebook.suspended:
            # Openings that a suspended partner was given as hashes alone do not open what is sealed to him later.
            known.heads.without_epochs(home=False)
        known.rulebook = plan.rulebook
