"""What a node may set about the reports that it takes. The contract's own ranges are not settings.

A range that stands in the contract (a latitude, the 64 references, the 1,000 identifiers of a withdrawal) is the
same for every nation and stands beside its rule. Here is what is a node's own affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from gateway.reports.errors import LimitError

_MICROSECOND: Final = timedelta(microseconds=1)
_ZERO: Final = timedelta(0)
_ENTRY_BYTES: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLimits:
    """Limits at the doors. Raises `LimitError` where a gateway could not run with them."""

    max_report_bytes: int = 16_384
    """Bytes of one serialised report, 1 to 65,535. Bounds the work that one request can cause before anything of
    it is believed; a release must also fit a ledger entry, which is at most 65,535 bytes."""

    max_ahead: timedelta = timedelta(seconds=5)
    """How far a report time may lie ahead of this gateway's clock at the C2 door. Synchronised clocks differ by
    milliseconds; beyond this one of the two clocks is wrong and no time in the report can be believed. The system
    sends a report again, and within a minute it is taken; a partner's ledger does not, so there nothing is refused for
    it."""

    flag_offset: timedelta = timedelta(seconds=1)
    """Beyond how far ahead a report time is flagged where it is taken, at most `max_ahead`. The warning is still good;
    the clock that it was read from wants looking at."""

    flag_behind: timedelta = timedelta(seconds=60)
    """Beyond how far behind a report time is flagged at the C2 door, where it is taken. Reports come within seconds of
    being made: the clock that it was read from is slow, or the way is. A demonstration that replays history raises it.
    """

    max_age: timedelta = timedelta(hours=1)
    """How old a report time may be at the C2 door. A warning is worth minutes, and a system that sends older ones
    is replaying a queue or has a wrong clock. Corrections and cancellations have no such limit. A demonstration that
    replays history raises it."""

    max_prediction_ahead: timedelta = timedelta(hours=1)
    """How far after the report time a predicted track point may lie. The longest ballistic flights last about 45
    minutes; beyond that there is nothing to propagate."""

    max_impact_ahead: timedelta = timedelta(hours=2)
    """How far after the report time an impact may be expected. Longer than any ballistic flight, and long enough
    for the end of a cruise missile's."""

    coarsening_slack: timedelta = timedelta(hours=1)
    """How far times of one partner's report may contradict each other. The origin may have coarsened each by its
    own policy, so that a launch seems to follow the report of it; at the C2 door nothing is allowed for."""

    covariance_tolerance: float = 1e-6
    """How far below zero the smallest eigenvalue of a covariance may lie once it is scaled to a unit diagonal; no
    unit, 1e-12 to 0.01. Above the rounding of a covariance that was kept in 32-bit numbers (6e-8 a term), far below
    any error of sign or order."""

    onward_alerts_s: float = 50.0
    """FLASH reports of one partner that are passed on to others in the long run, reports a second, 0.01 to 1,000,000.
    They take the lane of this node's own warnings; what is beyond waits for its turn."""

    onward_alerts_burst: int = 200
    """The same at once, 1 to 1,000,000 reports: the launches of a raid."""

    max_ahead_ns: int = field(init=False, repr=False, compare=False)
    """`max_ahead` in nanoseconds, as are the six below: the hot path compares integers."""
    flag_offset_ns: int = field(init=False, repr=False, compare=False)
    flag_behind_ns: int = field(init=False, repr=False, compare=False)
    max_age_ns: int = field(init=False, repr=False, compare=False)
    max_prediction_ahead_ns: int = field(init=False, repr=False, compare=False)
    max_impact_ahead_ns: int = field(init=False, repr=False, compare=False)
    coarsening_slack_ns: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.max_report_bytes <= _ENTRY_BYTES:
            raise LimitError(f"max_report_bytes is {self.max_report_bytes}; give 1 to {_ENTRY_BYTES} bytes")
        if not 1e-12 <= self.covariance_tolerance <= 0.01:
            raise LimitError(f"covariance_tolerance is {self.covariance_tolerance}; give 1e-12 to 0.01")
        if not 0.01 <= self.onward_alerts_s <= 1_000_000:
            raise LimitError(f"onward_alerts_s is {self.onward_alerts_s}; give 0.01 to 1,000,000 reports a second")
        if not 1 <= self.onward_alerts_burst <= 1_000_000:
            raise LimitError(f"onward_alerts_burst is {self.onward_alerts_burst}; give 1 to 1,000,000 reports")
        for name in _DURATIONS:
            duration: timedelta = getattr(self, name)
            if duration < _ZERO:
                raise LimitError(f"{name} is {duration.total_seconds()} s; give 0 s or more")
            object.__setattr__(self, f"{name}_ns", duration // _MICROSECOND * 1000)
        if self.flag_offset > self.max_ahead:
            raise LimitError(
                f"flag_offset is {self.flag_offset.total_seconds()} s, more than max_ahead, which is"
                f" {self.max_ahead.total_seconds()} s; give at most max_ahead"
            )


_DURATIONS: Final = (
    "max_ahead",
    "flag_offset",
    "flag_behind",
    "max_age",
    "max_prediction_ahead",
    "max_impact_ahead",
    "coarsening_slack",
)
