"""What is asked of the machine's clock, and what its kernel says."""

from __future__ import annotations

import pytest

from gateway.synchronisation import KernelClock, Synchronisation, Synchronised, kernel_clock

GOOD, OFF, ADRIFT = KernelClock(True, 0.001), KernelClock(False, 16.0), KernelClock(True, 1.5)


@pytest.mark.parametrize(
    ("asked", "kernel", "well"),
    [
        (Synchronised.REQUIRED, GOOD, True),
        (Synchronised.REQUIRED, OFF, False),
        (Synchronised.REQUIRED, None, False),
        (Synchronised.IF_KNOWN, GOOD, True),
        (Synchronised.IF_KNOWN, OFF, False),
        (Synchronised.IF_KNOWN, None, True),
        (Synchronised.NOT_ASKED, OFF, True),
        (Synchronised.NOT_ASKED, None, True),
    ],
)
def test_a_clock_counts_as_synchronised_as_far_as_is_asked(
    asked: Synchronised, kernel: KernelClock | None, well: bool
) -> None:
    assert (not Synchronisation(asked, lambda: kernel).problem) is well


def test_what_the_kernel_says_is_known_at_the_next_look() -> None:
    said = [OFF]
    found = Synchronisation(Synchronised.IF_KNOWN, lambda: said[0])
    said[0] = GOOD
    assert found.problem
    found.look()
    assert not found.problem


def test_a_synchronised_clock_that_may_be_off_by_much_is_remarked_on() -> None:
    assert "1.5 s" in Synchronisation(Synchronised.IF_KNOWN, lambda: ADRIFT).remark
    assert not Synchronisation(Synchronised.IF_KNOWN, lambda: GOOD).remark
    assert not Synchronisation(Synchronised.NOT_ASKED, lambda: ADRIFT).remark


def test_this_machine_is_asked_without_an_error() -> None:
    found = kernel_clock()
    assert found is None or found.max_error_s >= 0
