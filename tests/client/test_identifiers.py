"""Identifiers of reports lie side by side, each once, and tell no time."""

from __future__ import annotations

import uuid

from gateway.client import ReportIds
from gateway.reports.fields import UUID


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_is_a_uuid_of_version_8_and_given_once() -> None:
    ids = ReportIds()
    given = [ids.new() for _ in range(10_000)]
    assert len(set(given)) == len(given)
    assert {(each.version, each.variant) for each in map(uuid.UUID, given)} == {(8, uuid.RFC_4122)}
    assert all(UUID.fits(each) for each in given)


def test_within_a_second_they_are_in_the_order_in_which_they_were_made() -> None:
    clock = Clock()
    ids = ReportIds(clock)
    given = []
    for _ in range(1000):
        given.append(ids.new())
        clock.now += 1 / 1024
    assert given == sorted(given)
    assert len({each[:13] for each in given}) == 1


def test_another_second_begins_anywhere_and_so_does_a_clock_that_was_set_back() -> None:
    clock = Clock()
    ids = ReportIds(clock)
    prefixes = set()
    for step in (0.0, 0.999, 0.001, 5.0, -3.0, 0.5):
        clock.now += step
        prefixes.add(ids.new()[:13])
    assert len(prefixes) == 4


def test_the_same_moment_tells_nothing_of_the_time() -> None:
    first, second = ReportIds(Clock()).new(), ReportIds(Clock()).new()
    assert first[:13] != second[:13]
    assert first[13:19] == second[13:19] == "-8000-"
