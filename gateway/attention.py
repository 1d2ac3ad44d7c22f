"""What happened that an operator must look at, and that nothing shows which stands so now. For the event loop's thread.

1. An alert that was withheld from a partner because something failed, and not because a rule or its marking says so. It
   is told until one of its kind and traffic class goes to that partner and for QUIET_S nothing has failed so any more,
   or another policy is in force; and once at least, however soon that is.
2. A warning that was accepted after the all-clear of its event, though made before it. It stands: whoever made it may
   not have known of the all-clear, or it may be a second missile. It is told until it is recalled, and for LATE_TOLD_S
   at the most.
3. Something in the feed that does not open: the store holds what was never written. Subscribers are not given it. It is
   told until the gateway stops.

Nothing here outlasts the process; the log and the decisions ledger have both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

LATE_TOLD_S: Final = 3600.0
"""Seconds for which a warning after its all-clear is told: by then no missile of that event flies any more."""

QUIET_S: Final = 60.0
"""Seconds without a further failure after which one that goes shows that it is over: another rule may let one go."""

LATE_KEPT: Final = 256
"""Warnings after their all-clears that are kept: a sensor that was cut off may bring thousands."""


UNOPENED_KEPT: Final = 4096
"""Items that do not open which are known, and told once each. Where there are more, one alarm says enough."""


class Alert(NamedTuple):
    """A FLASH report for one partner. `failure` says what failed so that it was withheld; empty where it went."""

    traffic_class: str
    kind: str
    failure: str = ""


class Late(NamedTuple):
    """A warning that was accepted after the all-clear of its event. `report_id`: 16 bytes."""

    event_id: str
    report_id: bytes


class Withheld(NamedTuple):
    """How many alerts of a traffic class were withheld from a partner by one failure, and since when."""

    partner: str
    traffic_class: str
    failure: str
    alerts: int
    since: datetime


@dataclass(slots=True)
class _Kept:
    """Alerts of one kind that were withheld from one partner by one failure."""

    count: int = 0
    went: bool = False
    """Whether such an alert has gone to the partner since."""
    since: datetime | None = None
    """When it was first told; None: not yet."""
    policy: bytes = b""
    """Digest of the policy that was in force then."""
    seen: int = 0
    """How many there were at the last look."""
    last: datetime | None = None
    """At which look there were more."""


@dataclass(slots=True)
class Attention:
    """Keeps what happened for as long as it is to be told."""

    _withheld: dict[tuple[str, Alert], _Kept] = field(default_factory=dict)
    """By partner."""
    _late: deque[tuple[Late, float | None]] = field(default_factory=lambda: deque(maxlen=LATE_KEPT))
    """Each with when it was first told, monotonic seconds."""
    unopened: dict[int, str] = field(default_factory=dict)
    """Items that did not open, by their number, and which each is, in words."""

    def decided(self, partner: str, alert: Alert) -> None:
        """An alert went to a partner, or something failed and it was withheld."""
        if alert.failure:
            kept = self._withheld.setdefault((partner, alert), _Kept())
            kept.count, kept.went = kept.count + 1, False
            return
        for (whose, each), kept in self._withheld.items():
            kept.went = kept.went or (whose, each[:2]) == (partner, alert[:2])

    def accepted_late(self, late: Late) -> None:
        """A warning was accepted after the all-clear of its event."""
        self._late.append((late, None))

    def did_not_open(self, item: int, words: str) -> bool:
        """An item of the feed did not open. Returns whether that is new."""
        if item in self.unopened or len(self.unopened) >= UNOPENED_KEPT:
            return False
        self.unopened[item] = words
        return True

    def withheld(self, policy: bytes, now: datetime) -> Sequence[Withheld]:
        """What is to be told of alerts that were withheld. `policy` is the digest of the one in force."""
        told: dict[tuple[str, str, str], Withheld] = {}
        for (partner, alert), kept in list(self._withheld.items()):
            if kept.since is None or kept.last is None:
                kept.since, kept.policy = now, policy
            if kept.last is None or kept.count > kept.seen:
                kept.seen, kept.last = kept.count, now
            elif kept.policy != policy or (kept.went and (now - kept.last).total_seconds() >= QUIET_S):
                del self._withheld[partner, alert]
                continue
            key = (partner, alert.traffic_class, alert.failure)
            before = told.get(key, Withheld(*key, 0, kept.since))
            told[key] = Withheld(*key, before.alerts + kept.count, min(before.since, kept.since))
        return list(told.values())

    @property
    def late_ids(self) -> list[bytes]:
        """Identifiers of the late warnings that are kept."""
        return [late.report_id for late, _ in self._late]

    def late(self, standing: Collection[bytes], now: float) -> Mapping[str, list[Late]]:
        """What is to be told of late warnings, by event. `standing` are those that were not recalled."""
        kept = [(late, now if since is None else since) for late, since in self._late if late.report_id in standing]
        self._late.clear()
        self._late.extend((late, since) for late, since in kept if now - since < LATE_TOLD_S)
        by_event: dict[str, list[Late]] = {}
        for late, _ in self._late:
            by_event.setdefault(late.event_id, []).append(late)
        return by_event
