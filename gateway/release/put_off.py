"""Other nodes' reports that are not passed on at once: which they are, and how many warnings of one originator are.

Rules, in order:

1. What is put off is a range of entries of a replica, on record in the commit that brought them. That costs the same
   for one report and for thousands. Nothing is decided about them before their turn.
2. Of one originator and lane everything goes in its order, over generations: what comes behind something that is put
   off is put off as well.
3. Of one originator so many FLASH reports are passed on at once, and then so many a second (`ReportLimits`): they take
   the lane of this node's own warnings. How many it has left is on record too, over restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from signalfire.v1 import report_pb2

from gateway.ledger.origin import Origin
from gateway.release.plan import Plan
from gateway.reports.limits import ReportLimits

COPIES_A_STEP: Final = 48
"""Decisions on passing reports on, reports times partners, after which one step puts off the others: some 60 ms."""

PUT_OFF: Final = "put off"
"""Key of the store's own value that says which reports have still to be passed on: one range of entries a line."""

ALERTS: Final = "onward alerts "
"""Begins the key of the store's own value that says until when what an originator may have passed on at FLASH is spent;
its name follows. The value is the time, 8 bytes."""

_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """Entries of a replica, from `next` up to, not including, `end`: the reports in them have still to be passed on."""

    origin: Origin
    next: int
    end: int

    @property
    def line(self) -> str:
        """As it stands on record."""
        return f"{self.origin} {self.next} {self.end}"

    def before(self, origin: Origin) -> bool:
        """Whether what comes in that ledger has to wait for it (rule 2)."""
        return (self.origin.owner, self.origin.lane) == (origin.owner, origin.lane)


def ranges(raw: bytes | None) -> list[Range]:
    """What is put off, as it stands on record, oldest first."""
    lines = (line.split(" ") for line in (raw or b"").decode("ascii").splitlines())
    return [Range(Origin.parse(origin), int(at), int(end)) for origin, at, end in lines]


def next_of(raw: bytes | None, lane: str) -> Iterator[Range]:
    """Of what is put off, as it stands on record, the first of each originator in a lane."""
    found = {each.origin.owner: each for each in reversed(ranges(raw)) if each.origin.lane == lane}
    yield from found.values()


class PutOff:
    """What is put off, durably or by one plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        meta = plan.commit.meta
        self._ranges = ranges(meta[PUT_OFF] if PUT_OFF in meta else plan.store.meta(PUT_OFF))

    def first(self, origin: Origin) -> Range | None:
        """The first for which what comes in that ledger has to wait; None: it can go at once."""
        return next((each for each in self._ranges if each.before(origin)), None)

    def add(self, origin: Origin, index: int) -> None:
        """Puts off the report at `index`, behind those that are."""
        place = next((at for at, each in enumerate(self._ranges) if each.origin == origin), None)
        if place is None:
            if self.first(origin) is None:
                self._plan.record_event(
                    "passing-on-put-off",
                    f"{origin} brings more than is passed on at once: from entry {index} on what may go onward is"
                    " decided a little later, in its order",
                )
            self._ranges.append(Range(origin, index, index + 1))
        else:
            self._ranges[place] = replace(self._ranges[place], end=index + 1)
        self._keep()

    def advance(self, first: Range, position: int) -> None:
        """What stands before `position` is dealt with."""
        self._ranges[self._ranges.index(first)] = replace(first, next=position)
        self._ranges = [each for each in self._ranges if each.next < each.end]
        self._keep()

    def _keep(self) -> None:
        self._plan.commit.meta[PUT_OFF] = "\n".join(each.line for each in self._ranges).encode("ascii")


class Work:
    """How much one step passes on. It covers at least one report, but for rule 3."""

    def __init__(self, plan: Plan, limits: ReportLimits) -> None:
        self._plan = plan
        self._limits = limits
        self._left = COPIES_A_STEP

    def covers(self, report: report_pb2.Report, partners: int) -> bool:
        """Whether a report is decided for so many partners now. If so, that is taken."""
        if self._left <= 0:
            return False
        if report.precedence == report_pb2.PRECEDENCE_FLASH and not self._has_alert(report.originator_node):
            return False
        self._left -= partners
        return True

    def _has_alert(self, originator: str) -> bool:
        """Takes one of the FLASH reports of an originator (rule 3). False: it has none left now."""
        plan, limits = self._plan, self._limits
        key = f"{ALERTS}{originator}"
        raw = plan.commit.meta.get(key) or plan.store.meta(key) or b""
        one_ns = int(_SECOND_NS / limits.onward_alerts_s)
        latest_ns = plan.now_ns + limits.onward_alerts_burst * one_ns
        spent_ns = max(int.from_bytes(raw), plan.now_ns)
        if spent_ns > latest_ns:
            # The clock was set back since, or the limits were others: all but one are spent, and it goes on from here.
            spent_ns = latest_ns - one_ns
        spent_ns += one_ns
        if spent_ns > latest_ns:
            return False
        plan.commit.meta[key] = spent_ns.to_bytes(8)
        return True
