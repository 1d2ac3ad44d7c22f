from __future__ import annotations

from itertools import pairwise

import pytest
from signalfire.v1 import report_pb2

from gateway.reports.marking import (
    LEVEL_NAMES,
    level_name,
    marking_text,
    onward_releasable,
    releasable,
    within,
)

UNDEFINED = report_pb2.Classification.ValueType(99)


def marking(**changes: object) -> report_pb2.Marking:
    fields: dict[str, object] = {
        "policy": "JPN",
        "classification": report_pb2.CLASSIFICATION_SECRET,
        "releasable_to": ["USA", "KOR"],
        **changes,
    }
    return report_pb2.Marking(**fields)  # type: ignore[arg-type]  # one dictionary for all fields


def test_each_level_lies_within_itself_and_those_above_it_only() -> None:
    for lower, higher in pairwise(LEVEL_NAMES):
        assert within(lower, lower)
        assert within(lower, higher)
        assert not within(higher, lower)


def test_levels_run_from_unclassified_to_top_secret() -> None:
    assert list(LEVEL_NAMES.values()) == ["UNCLASSIFIED", "RESTRICTED", "CONFIDENTIAL", "SECRET", "TOP SECRET"]


@pytest.mark.parametrize("level", [report_pb2.CLASSIFICATION_UNSPECIFIED, UNDEFINED])
def test_an_undefined_level_lies_within_no_ceiling_and_is_none(level: report_pb2.Classification.ValueType) -> None:
    assert not within(level, report_pb2.CLASSIFICATION_TOP_SECRET)
    assert not within(report_pb2.CLASSIFICATION_UNCLASSIFIED, level)
    assert level_name(level) == "NO VALID CLASSIFICATION"


def test_a_report_may_go_to_the_nodes_that_its_marking_names_and_to_no_other() -> None:
    assert releasable(marking(), "KOR")
    assert not releasable(marking(), "AUS")
    assert not releasable(marking(), "JPN")
    assert not releasable(marking(releasable_to=[]), "KOR")


def test_a_report_may_go_onward_only_where_its_marking_says_so() -> None:
    assert onward_releasable(marking(onward_release=["AUS"]), "AUS")
    assert not onward_releasable(marking(onward_release=["AUS"]), "KOR")
    assert not onward_releasable(marking(), "KOR")


def test_a_marking_without_a_defined_level_lets_nothing_go() -> None:
    assert not releasable(marking(classification=UNDEFINED), "KOR")
    assert not releasable(marking(classification=report_pb2.CLASSIFICATION_UNSPECIFIED), "KOR")
    assert not onward_releasable(marking(classification=UNDEFINED, onward_release=["AUS"]), "AUS")


def test_a_marking_reads_as_people_write_it() -> None:
    assert marking_text(marking()) == "JPN SECRET REL TO KOR, USA"
    assert marking_text(marking(releasable_to=[])) == "JPN SECRET NATIONAL EYES ONLY"
    full = marking(
        classification=report_pb2.CLASSIFICATION_TOP_SECRET, caveats=["EYES-ONLY", "ATOMAL"], onward_release=["AUS"]
    )
    assert marking_text(full) == "JPN TOP SECRET REL TO KOR, USA (ATOMAL; EYES-ONLY) ONWARD TO AUS"
    assert marking_text(report_pb2.Marking()) == "NO VALID CLASSIFICATION NATIONAL EYES ONLY"
