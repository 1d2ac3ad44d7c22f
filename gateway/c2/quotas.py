"""How much one C2 system may push. Pure: the time is passed in.

Rules, in order:

1. A report costs one of the client's reports and its bytes. Both fill again by so many a second, up to a burst.
2. An alert (FLASH, or what recalls reports) costs one of its alerts instead, which nothing else can use up. Only where
   none is left it costs as any other report: so it is refused last.
3. A report that is not covered is refused, nothing is charged, and the client is told when to send it again: those that
   are refused one after another are given times one after another, as fast as the quota fills, and at most LATEST_S
   ahead.
4. A refusal costs as well: each client may have so many a second, and is read no faster beyond. So do the bytes that
   belong to no report which can be read: those of a request that is refused as a whole, and those beside its reports.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.release.ranks import Rank

LATEST_S: Final = 5.0
"""The latest time for which a client is told to wait, seconds."""

SOONEST_S: Final = 0.01
"""The soonest, seconds."""

REFUSALS_S: Final = 2000.0
"""Refusals a second of one client before it is read more slowly: some fifth of a processor."""

EXHAUSTED: Final = 0.25
"""What a refusal costs of another where a report was more than the quota: it was read, and not judged. Who has pushed
too many tracks is thus not kept from his alerts by being told so."""

READ_IN_VAIN: Final = 8192
"""Bytes that belong to no report and cost as much as a refusal: no other quota pays for them."""


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """What one C2 system may push, on all its streams together."""

    reports_s: float = 2000.0
    """Reports a second in the long run: about as many as a small machine decides, seals and commits."""
    reports_burst: int = 50_000
    """Reports at once, e.g. after the client was cut off."""
    bytes_s: float = float(4 << 20)
    """Bytes of reports a second in the long run: 2 KiB a report."""
    bytes_burst: int = 128 << 20
    """Bytes of reports at once."""
    alerts_s: float = 50.0
    """Alerts a second in the long run: raids have hundreds of launches, not thousands."""
    alerts_burst: int = 5000
    """Alerts at once."""
    streams: int = 16
    """Streams that push at the same time."""


@dataclass(slots=True)
class Bucket:
    """Fills by `rate` a second up to `burst`. It begins full, at the time `at`, seconds."""

    rate: float
    burst: float
    at: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.burst

    def missing_s(self, cost: float, now: float) -> float:
        """Seconds until `cost` is there; 0 where it is. More than a burst is taken from a full one."""
        if now > self.at:
            self.left = min(self.burst, self.left + (now - self.at) * self.rate)
            self.at = now
        if cost <= self.left:
            return 0.0
        return max(0.0, min(cost, self.burst) - self.left) / self.rate

    def take(self, cost: float) -> None:
        """Takes it: `missing_s` has said that it is there."""
        self.left -= min(cost, self.burst)

    def give_back(self, cost: float) -> None:
        """What was taken and was not needed."""
        self.left = min(self.burst, self.left + min(cost, self.burst))


class Charge(NamedTuple):
    """What became of a report at the quota, and what paid for it."""

    wait_s: float
    """Seconds after which it may be sent again; 0: it is covered."""
    size: int
    """Bytes."""
    as_alert: bool = False
    """It was paid as an alert, and not as any other report."""


class Quota:
    """The quota of one client. `now` is seconds by a clock that never goes back."""

    def __init__(self, limits: QuotaLimits, now: float) -> None:
        self._reports = Bucket(limits.reports_s, limits.reports_burst, now)
        self._bytes = Bucket(limits.bytes_s, limits.bytes_burst, now)
        self._alerts = Bucket(limits.alerts_s, limits.alerts_burst, now)
        self._told = now
        self._read_on = now
        self.streams = 0
        """Streams that push now."""

    def take(self, rank: Rank, size: int, now: float) -> Charge:
        """Charges a report of `size` bytes; or charges nothing, and says when it may be sent again."""
        if rank >= Rank.FLASH and self._alerts.missing_s(1, now) == 0:
            self._alerts.take(1)
            return Charge(0.0, size, as_alert=True)
        reports_s, bytes_s = self._reports.missing_s(1, now), self._bytes.missing_s(size, now)
        if not reports_s and not bytes_s:
            self._reports.take(1)
            self._bytes.take(size)
            return Charge(0.0, size)
        turn = max(1 / self._reports.rate, min(size, self._bytes.burst) / self._bytes.rate)
        self._told = min(max(self._told + turn, now + max(reports_s, bytes_s)), now + LATEST_S)
        return Charge(max(SOONEST_S, self._told - now), size)

    def give_back(self, charge: Charge) -> None:
        """A report that was charged so found no room and was refused after all: it goes back to where it came from."""
        if charge.as_alert:
            self._alerts.give_back(1)
        else:
            self._reports.give_back(1)
            self._bytes.give_back(charge.size)

    def refused(self, now: float, *, exhausted: bool = False) -> None:
        """Takes note of a refusal; `exhausted`: for what `take` said."""
        self._read_on = max(self._read_on, now) + (EXHAUSTED if exhausted else 1) / REFUSALS_S

    def read_in_vain(self, size: int, now: float) -> None:
        """Takes note of `size` bytes that belong to no report which can be read."""
        self._read_on = max(self._read_on, now) + size / (READ_IN_VAIN * REFUSALS_S)

    def pause_s(self, now: float) -> float:
        """Seconds to wait before more is read of this client; 0 as long as what it had refused is within what it may
        have in a tenth of a second.
        """
        ahead = self._read_on - now
        return ahead if ahead > 0.1 else 0.0
