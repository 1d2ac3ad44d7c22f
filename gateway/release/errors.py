"""What can go wrong on the way of a report.

    ReleaseError
    ├── StepRefused      one step of a commit is refused; the others go on
    │   └── RefusedReport    a report was not taken, and why
    ├── Exhausted        there is no room for it now; ask again later
    └── Unavailable      nothing can be made durable now; ask again
        └── StepBroken       one step failed as it should not; the others go on

    StoreError           (of `gateway.ledger.errors`)
    └── KeyNotHeld       the store was last written with a key that the node does not hold

Errors of a ledger, a replica or a signature are those of `gateway.ledger.errors`, and refuse one step as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from signalfire.v1 import c2_pb2

from gateway.ledger.errors import StoreError
from gateway.reports.violations import Violation


class KeyNotHeld(StoreError):
    """A key that is in use is not in the keys directory."""


class ReleaseError(Exception):
    """Root of the family."""


class Unavailable(ReleaseError):
    """The node cannot make anything durable now. What was asked for may be asked again."""


class StepBroken(Unavailable):
    """A step failed in a way that nobody foresaw. It was left out of the commit, and nothing of it was kept."""


class Exhausted(ReleaseError):
    """There is too much of it, and nothing of what was asked for was kept. It may be asked again `retry_after_ms`
    milliseconds later.
    """

    def __init__(self, text: str, retry_after_ms: int) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms


class StepRefused(ReleaseError):
    """One step is refused, and left its plan as it was."""


class LookFirst(StepRefused):
    """An all-clear recalls more than can be looked at in one commit: these have to be looked at before."""

    def __init__(self, report_ids: Sequence[bytes]) -> None:
        super().__init__(f"{len(report_ids)} warnings of the event have to be looked at first")
        self.report_ids = report_ids


class RefusedReport(StepRefused):
    """A report was not taken. With UNAVAILABLE it may be handed in again `retry_after_ms` milliseconds later; None:
    after the usual pause.
    """

    def __init__(
        self,
        code: c2_pb2.RefusalCode.ValueType,
        violations: Sequence[Violation],
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.code = code
        self.violations = violations
        self.retry_after_ms = retry_after_ms
