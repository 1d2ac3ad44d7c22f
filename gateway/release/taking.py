"""Taking a report of a C2 system, also an all-clear about an event with tens of thousands of warnings.

An all-clear is taken in one commit: from that moment on everything that it recalls is recalled, whatever crashes. That
commit holds a row for each recalled warning and one for each partner who has still to be told of it, and whatever comes
next waits for it: some 70 µs a warning with two partners, which is about a second for 16,000. What takes longer is done
beside that commit, so that nothing waits for it:

1. *Before*, in steps of LOOKED_AT_A_STEP: whether the client could have pushed each warning, for which it is opened. A
   warning never changes, and those that come meanwhile are looked at by the commit itself.
2. *After*: partners are told in steps of their own (`gateway.release.pending`), and holds end when they come due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from gateway.release.errors import LookFirst
from gateway.release.pipeline import LOOKED_AT_A_STEP, AcceptedReport, TakeReport
from gateway.release.plan import Plan
from gateway.release.ranks import Rank


@dataclass(frozen=True, slots=True)
class LookAtWarnings:
    """Finds which of these warnings an all-clear recalls. Changes nothing."""

    all_clear: TakeReport
    report_ids: tuple[bytes, ...]
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of the all-clear."""
        return self.all_clear.rank

    def apply(self, plan: Plan) -> dict[bytes, bool]:
        """Looks. Raises RefusedReport where the client may not recall one."""
        return self.all_clear.look(plan, self.report_ids)


async def take(step: TakeReport, do: Callable[[Any], Awaitable[Any]], found: LookFirst | None = None) -> AcceptedReport:
    """Takes a report; `do` makes one step durable. `found`: what that ended with, where it was tried before. Raises
    what `do` raises, RefusedReport among it.
    """
    while True:
        if found is not None:
            looked_at = dict(step.looked_at)
            for start in range(0, len(found.report_ids), LOOKED_AT_A_STEP):
                some = tuple(found.report_ids[start : start + LOOKED_AT_A_STEP])
                looked_at |= await do(LookAtWarnings(step, some))
            step = replace(step, looked_at=looked_at)
        try:
            accepted: AcceptedReport = await do(step)
        except LookFirst as further:
            # Another one, without the traceback: that holds its commit.
            found = LookFirst(further.report_ids)
        else:
            return accepted
