"""What was found sound is not looked into again: nothing may pass for it that was not."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from signalfire.v1 import report_pb2

from gateway.reports.fields import Known
from tests.reports.doors import Example, released, submitted
from tests.reports.examples import change, launch_detection, report_id, track

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def test_no_more_is_known_than_is_allowed_and_the_last_always_is() -> None:
    known: Known[int] = Known(3)
    for number in range(10):
        known.keep(number)
        assert number in known
        assert len(known) <= 3


def test_a_marking_that_was_sound_in_an_exercise_is_judged_anew_in_live_traffic() -> None:
    user_assigned: dict[str, Any] = {"marking__releasable_to": ["XXA"]}
    exercise = launch_detection(**user_assigned, traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE)
    assert submitted(exercise) == released(exercise) == []
    live = launch_detection(**user_assigned)
    assert submitted(live) == released(live) == ["marking.releasable_to[0]"]


def test_a_marking_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        assert submitted(launch_detection(marking__releasable_to=["KOR", "KOR"])) == ["marking.releasable_to[1]"]
        assert submitted(launch_detection(marking=None)) == ["marking"]
        assert released(launch_detection(marking=None)) == ["marking"]


@pytest.mark.parametrize(
    ("text", "fits", "fits_not"),
    [
        ("readme/radar-1", "originator_station", "track__track_number"),
        (report_id(1), "track__track_id", "marking__policy"),
        ("JA-001", "track__track_number", "track__track_id"),
        ("SOME TEXT", "threat__launch_area", "event_id"),
    ],
)
def test_a_text_that_is_known_in_one_form_is_not_for_that_known_in_another(text: str, fits: str, fits_not: str) -> None:
    assert submitted(change(track(), **{fits: text})) == []
    assert submitted(change(track(), **{fits_not: text})) == [fits_not.replace("__", ".")]


@pytest.mark.parametrize("example", [launch_detection, track])
def test_each_control_character_is_refused_in_free_text(example: Example) -> None:
    controls = CONTROL.findall("".join(map(chr, range(sys.maxunicode + 1))))
    assert len(controls) == 76
    for control in controls:
        assert submitted(example(threat__launch_area=f"Sunan{control}")) == ["threat.launch_area"]
