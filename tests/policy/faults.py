"""Conditions that are refused, and why."""

from __future__ import annotations

import pytest

from policy import Kind, cel
from policy.errors import ConditionError, Fault

COUNTRY = "report.threat.launch_country"
PRK = f'{COUNTRY} == "PRK"'


def faults(text: str, *kinds: Kind) -> tuple[Fault, ...]:
    """Everything for which a condition is refused, in a rule for these kinds; tracks, where none is named."""
    with pytest.raises(ConditionError) as caught:
        cel.EMPTY.compile(text, kinds or (Kind.TRACK,))
    return caught.value.faults


def fault(text: str, *kinds: Kind) -> Fault:
    """The one thing for which it is refused."""
    (found,) = faults(text, *kinds)
    return found
