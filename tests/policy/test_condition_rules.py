"""What a condition may not say although it is CEL: what could be true, false or without end by accident."""

from __future__ import annotations

import pytest

from policy import Kind, cel
from policy.errors import ConditionError
from tests.policy.faults import COUNTRY, PRK, fault, faults

ROUTINE = 'posture == "ROUTINE"'
CONFIRMED = "report.launch_detection.certainty == Certainty.CERTAINTY_CONFIRMED"


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence <= 4",
        "4 >= report.precedence",
        "report.precedence in [4]",
        "report.precedence in [Precedence.PRECEDENCE_FLASH, 3]",
        "[report.precedence] == [4]",
        "[4] == [report.precedence]",
        "[report.precedence].exists(p, p == 4)",
        "report.references.map(r, r.relation) == [1]",
        "report.references.exists(r, r.relation == 1)",
        "report.precedence + 1 == 5",
        "int(report.precedence) == 4",
        "string(report.precedence) == '4'",
        "(true ? report.precedence : report.precedence) == 4",
        "size([report.precedence]) == 1",
    ],
)
def test_an_enum_is_not_a_number(text: str) -> None:
    assert all("A value of" in found.what for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence == Classification.CLASSIFICATION_SECRET",
        "report.marking.classification <= report.precedence",
        "report.precedence in [Classification.CLASSIFICATION_SECRET]",
    ],
)
def test_two_enums_are_not_compared_with_each_other(text: str) -> None:
    found = fault(text)
    assert found.what == "Classification and Precedence are compared with each other."


@pytest.mark.parametrize(
    "text", ["dyn(report).lane == 1", "[1, 'a'].exists(x, x == 1)", "type(report.precedence) == int"]
)
def test_what_leaves_the_type_check_is_refused(text: str) -> None:
    assert any("type" in found.what for found in faults(text))


@pytest.mark.parametrize(
    "text", ["report.track == Track{}", "{'a': 1}['a'] == 1", "Track{missile_class: 2} == report.track"]
)
def test_a_condition_makes_nothing(text: str) -> None:
    assert any(found.what.startswith("The condition makes a") for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        CONFIRMED,
        "!(" + CONFIRMED + ")",
        CONFIRMED + " || has(report.launch_detection)",
        CONFIRMED + " && has(report.launch_detection)",
        "!(" + CONFIRMED + ") || !has(report.launch_detection)",
        CONFIRMED + " ? has(report.launch_detection) : false",
        "has(report.launch_detection) || " + CONFIRMED,
        "!has(report.launch_detection) && " + CONFIRMED,
        "has(report.launch_detection) ? true : " + CONFIRMED,
        "has(report.impact_prediction) && " + CONFIRMED,
        "(has(report.launch_detection) || " + PRK + ") && " + CONFIRMED,
        "!(!has(report.launch_detection) && " + ROUTINE + ") && " + CONFIRMED,
        "[report].exists(r, r.launch_detection.object_count > 1u)",
        "report.references.all(r, report.launch_detection.object_count > 1u)",
        "report.launch_detection.launch_point.height_m == 0.0",
    ],
)
def test_content_that_may_be_absent_is_not_read(text: str) -> None:
    for found in faults(text, Kind.LAUNCH_DETECTION, Kind.TRACK):
        assert found.what == 'The rule also applies to Track, where there is no "report.launch_detection".'
    assert cel.EMPTY.compile(text, (Kind.LAUNCH_DETECTION,)).text == text


@pytest.mark.parametrize(
    "text",
    [
        "has(report.launch_detection) && " + CONFIRMED,
        "!has(report.launch_detection) || " + CONFIRMED,
        "has(report.launch_detection) ? " + CONFIRMED + " : has(report.track)",
        "has(report.launch_detection.launch_point) && " + CONFIRMED,
        "(has(report.launch_detection) && " + PRK + ") && " + CONFIRMED,
        "!(!has(report.launch_detection) || " + ROUTINE + ") && " + CONFIRMED,
        "has(report.launch_detection) && report.references.all(r, " + CONFIRMED + ")",
        PRK,
    ],
)
def test_content_behind_has_may_be_read(text: str) -> None:
    assert cel.EMPTY.compile(text, (Kind.LAUNCH_DETECTION, Kind.TRACK)).text == text


def test_every_kind_that_lacks_the_content_is_told() -> None:
    text = "has(report.launch_detection) ? " + CONFIRMED + " : report.track.quality > 3u"
    found = fault(text, Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION)
    assert found.what == 'The rule also applies to LaunchDetection, ImpactPrediction, where there is no "report.track".'


def test_null_is_refused() -> None:
    assert ["ever equal to null" in found.what for found in faults("report.track.velocity == null")] == [True, False]


@pytest.mark.parametrize("enum", ["track.missile_class", "track.status", "track.point_type", "track.velocity.frame"])
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">="])
def test_only_what_has_an_order_is_ordered(enum: str, operator: str) -> None:
    found = faults(f"report.{enum} {operator} report.{enum}")
    assert "have no order" in found[0].what


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence < Precedence.PRECEDENCE_FLASH",
        "report.marking.classification <= Classification.CLASSIFICATION_SECRET",
        "report.launch_detection.certainty >= Certainty.CERTAINTY_PROBABLE",
    ],
)
def test_levels_are_ordered(text: str) -> None:
    assert cel.EMPTY.compile(text, (Kind.LAUNCH_DETECTION,)).text == text


CLASS = "report.track.missile_class"
SRBM = "MissileClass.MISSILE_CLASS_SRBM"
UNKNOWN_CLASS = "MissileClass.MISSILE_CLASS_UNKNOWN"


@pytest.mark.parametrize(
    "text",
    [
        f'{COUNTRY} != "PRK"',
        f'"PRK" != {COUNTRY}',
        f'!({COUNTRY} == "PRK")',
        f'!({COUNTRY} in ["PRK", "CHN"])',
        f"!({COUNTRY} in countries.neighbours)",
        f'!(true && {COUNTRY} == "PRK")',
        f'({COUNTRY} == "PRK") == false',
        f'{COUNTRY} == "PRK" ? false : true',
        f'!report.references.all(r, {COUNTRY} == "PRK")',
        f'report.references.exists_one(r, {COUNTRY} == "PRK")',
        f'size(report.references.filter(r, {COUNTRY} == "PRK")) == 0',
        f"{COUNTRY} != partner",
        f"{COUNTRY} == report.originator_node",
        f'{COUNTRY} < "Q"',
        f'{COUNTRY}.startsWith("P")',
        f"size({COUNTRY}) == 7",
        f'[{COUNTRY}] != ["PRK"]',
        '[report.threat].exists(t, t.launch_country != "PRK")',
    ],
)
def test_a_country_that_may_be_unknown_satisfies_nothing_by_accident(text: str) -> None:
    language = cel.Language(cel.Vocabulary({"neighbours": ("CHN", "RUS")}, {}))
    with pytest.raises(ConditionError, match='"launch_country" can be UNKNOWN'):
        language.compile(text, (Kind.TRACK,))
    said = f'{text} && {COUNTRY} != "UNKNOWN"'
    assert language.compile(said, (Kind.TRACK,)).text == said


@pytest.mark.parametrize("text", [f"{CLASS} != {SRBM}", f"!({CLASS} in [{SRBM}])", f"!({SRBM} == {CLASS})"])
def test_a_class_of_missile_that_may_be_unknown_satisfies_nothing_by_accident(text: str) -> None:
    found = fault(text)
    assert found.what == '"missile_class" can be UNKNOWN, which would satisfy this by accident.'
    assert f"{CLASS} != {UNKNOWN_CLASS}" in found.remedy
    assert cel.EMPTY.compile(f"{text} || {CLASS} == {UNKNOWN_CLASS}", (Kind.TRACK,)).reads_now is False


def test_to_name_unknown_for_one_field_does_not_name_it_for_another() -> None:
    assert "launch_country" in fault(f'{COUNTRY} != "PRK" && {CLASS} != {UNKNOWN_CLASS}').what


@pytest.mark.parametrize(
    "text",
    [
        f'{COUNTRY} == "PRK"',
        f'!({COUNTRY} != "PRK")',
        f'!!({COUNTRY} in ["PRK", "CHN"])',
        f'!({COUNTRY} in ["PRK", "UNKNOWN"])',
        f'report.references.all(r, {COUNTRY} == "PRK")',
        f'has(report.track) ? {COUNTRY} == "PRK" : {CLASS} == {SRBM}',
        "report.track.status != TrackStatus.TRACK_STATUS_DROPPING",
    ],
)
def test_what_unknown_does_not_satisfy_need_not_name_it(text: str) -> None:
    assert cel.EMPTY.compile(text, (Kind.TRACK,)).text == text


@pytest.mark.parametrize(
    "text",
    [
        "1.0 in report.track.covariance.upper_triangle",
        "report.track.covariance.upper_triangle == [1.0]",
        "[[1.0]] != [[2.0]]",
        "report.track.position == report.track.position",
        "report.references != []",
        "report.references[0] in report.references",
        'string(report.track.position.height_m) == "5"',
    ],
)
def test_doubles_are_compared_one_with_one(text: str) -> None:
    assert any("double" in found.what for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        'posture == "IMMINANT"',
        'posture == "Imminent"',
        'posture in ["ROUTINE", "imminent"]',
        'partner == "kor"',
        '"PKR" == report.threat.launch_country',
        'report.threat.launch_country in ["PRK", "prk"]',
        'report.originator_node == "Japan"',
        '"kor" in report.marking.releasable_to',
        'report.marking.caveats.exists(c, c == "Eyes-Only")',
        'report.references.all(r, r.originator_node in ["JPN", "XY"])',
        'report.marking.onward_release[0] == "K"',
    ],
)
def test_a_word_that_can_never_be_there_is_refused(text: str) -> None:
    with pytest.raises(ConditionError) as caught:
        cel.EMPTY.compile(text, (Kind.TRACK,))
    assert any('" is not a' in fault.what for fault in caught.value.faults)


@pytest.mark.parametrize(
    "text",
    [
        'posture == "IMMINENT" && partner == "KOR" && report.threat.launch_country in ["PRK", "UNKNOWN"]',
        'report.marking.caveats.exists(c, c == "EYES-ONLY") && report.event_id == "anything-at-all"',
        'report.originator_node == "XAA"',
        'report.event_id == "https://example.org"',
    ],
)
def test_words_that_can_be_there_are_not(text: str) -> None:
    assert cel.EMPTY.compile(text, (Kind.TRACK,)).text == text


@pytest.mark.parametrize(
    "text",
    [
        'report.event_id + "x" == "yx"',
        '["a"].map(s, "b")[0] == "b"',
        "([1] + [2]).size() == 2",
        "[1].map(n, [n, n]).size() == 1",
        'b"a" + b"b" == b"ab"',
    ],
)
def test_what_could_grow_without_bound_is_refused(text: str) -> None:
    with pytest.raises(ConditionError):
        cel.EMPTY.compile(text, (Kind.TRACK,))


def test_unknown_can_be_left_out_or_counted_in_and_both_are_told() -> None:
    remedy = fault(f'{COUNTRY} != "PRK"').remedy
    assert f'{COUNTRY} != "UNKNOWN" && (...)' in remedy
    assert f'{COUNTRY} == "UNKNOWN" || ... (in a withhold rule, or under never: to keep it back)' in remedy
