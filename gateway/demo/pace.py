"""When each report of a timeline is played, so that hours pass in seconds and a burst still looks like one.

A gap between two reports longer than `IDLE_S` is cut to that length; what is left is scaled evenly to the duration
asked for. Order is kept, reports of one instant stay together, and inside a burst the proportions are those of history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.demo.errors import DemoError
from gateway.demo.reports import TimedReport

IDLE_S: Final = 20.0
"""The longest gap that is played in proportion: longer than any sensor's usual revisit, shorter than any lull."""


def pace(timeline: Sequence[TimedReport], *, duration_s: float | None) -> list[float]:
    """The instant at which to play each report, in seconds from the start of the replay; never decreasing.

    :param duration_s: when the last report is to be played; none: in real time, each at its own `at`. A timeline
        that is shorter than this once its gaps are cut is not stretched.
    :raises DemoError: if the duration is not a positive number.
    """
    if duration_s is None:
        return [item.at for item in timeline]
    if not 0 < duration_s < float("inf"):
        raise DemoError(
            f"A replay cannot last {duration_s} s",
            where="duration of a replay",
            mend="Give a positive number of seconds, or none for real time.",
        )
    offsets: list[float] = []
    before = played = 0.0
    for item in timeline:
        played += min(item.at - before, IDLE_S)
        before = item.at
        offsets.append(played)
    factor = min(1.0, duration_s / played) if played > 0 else 1.0
    return [offset * factor for offset in offsets]
