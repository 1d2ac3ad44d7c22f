"""Whether the machine's clock is synchronised, as its kernel says.

What is relied on: adjtimex(2) with `modes` 0 only reads, needs no privilege, takes a microsecond, and says in `status`
whether the kernel holds the clock to be synchronised (STA_UNSYNC), with the most that it may be off in `maxerror`. The
kernel says so of itself too some nine hours after whatever disciplined it has fallen silent.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_ERROR_S: Final = 1.0
"""How far off a synchronised clock may be before it is a warning: reports flag times that are off by more."""

_STA_UNSYNC: Final = 0x40
_TIME_ERROR: Final = 5


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock: whether it is synchronised, and the most that it may be off, seconds."""

    synchronised: bool
    max_error_s: float


class _Timex(ctypes.Structure):
    """`struct timex` of Linux on 64 bits, up to what is read; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 512),
    )


def kernel_clock() -> KernelClock | None:
    """The state of this machine's clock; None where the system does not say."""
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    found = _Timex()
    state = adjtimex(ctypes.byref(found))
    if state < 0:
        return None
    synchronised = state != _TIME_ERROR and not found.status & _STA_UNSYNC
    return KernelClock(synchronised, found.maxerror / 1e6)


class Synchronised(StrEnum):
    """What is asked of the machine's clock before the gateway believes it."""

    REQUIRED = "required"
    """The kernel says that it is synchronised."""
    IF_KNOWN = "if_known"
    """The kernel does not say that it is not: where it says nothing, as in some containers, that is taken for well."""
    NOT_ASKED = "not_asked"
    """Nothing: for a machine whose kernel does not know that its clock is right, and for trying things out."""


class Synchronisation:
    """Looks at the kernel's clock when it is told to, and says what is wrong with it whenever it is asked."""

    def __init__(
        self, asked: Synchronised = Synchronised.IF_KNOWN, read: Callable[[], KernelClock | None] = kernel_clock
    ) -> None:
        self._asked = asked
        self._read = read
        self.kernel: KernelClock | None = None
        """What the kernel said at the last look."""
        self.look()

    def look(self) -> None:
        """Looks anew."""
        self.kernel = self._read()

    @property
    def problem(self) -> str:
        """Why the clock does not count as synchronised; empty where it does."""
        if self._asked is Synchronised.NOT_ASKED or (self.kernel is None and self._asked is Synchronised.IF_KNOWN):
            return ""
        if self.kernel is None:
            return "the system does not say whether its clock is synchronised, and `clock.synchronised` requires it"
        return "" if self.kernel.synchronised else "the machine's clock is not synchronised"

    @property
    def remark(self) -> str:
        """What has to be looked at though the clock counts as synchronised; empty where there is nothing."""
        asked = self._asked is not Synchronised.NOT_ASKED and self.kernel is not None
        if not asked or self.problem or self.kernel is None or self.kernel.max_error_s <= MAX_ERROR_S:
            return ""
        return f"the machine's clock may be off by {self.kernel.max_error_s:.1f} s, as its kernel says"
