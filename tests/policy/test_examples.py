"""The worked trilateral policy decides as its comments say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

import policy
from policy import Bundle, Decision, Outcome
from tests.policy import reports
from tests.policy.reports import had_everything, report_id

TRILATERAL = Path(policy.__file__).parent / "examples" / "trilateral"
BUNDLES = {node: policy.load(TRILATERAL / node.lower()) for node in ("JPN", "KOR", "USA")}
OTHERS = {"JPN": ("KOR", "USA"), "KOR": ("JPN", "USA"), "USA": ("JPN", "KOR")}
PAIRS = [(node, partner) for node, partners in OTHERS.items() for partner in partners]

LIVE = report_pb2.TRAFFIC_CLASS_LIVE
TEST = report_pb2.TRAFFIC_CLASS_TEST


def envelope(
    node: str,
    traffic_class: report_pb2.TrafficClass.ValueType = LIVE,
    launch_country: str = "PRK",
    classification: report_pb2.Classification.ValueType = report_pb2.CLASSIFICATION_SECRET,
    caveats: Sequence[str] = (),
) -> report_pb2.Report:
    return reports.envelope(
        node=node,
        releasable_to=OTHERS[node],
        traffic_class=traffic_class,
        launch_country=launch_country,
        classification=classification,
        caveats=caveats,
    )


def decide(report: report_pb2.Report, partner: str, posture: str | None = None) -> Decision:
    bundle: Bundle = BUNDLES[report.originator_node]
    return bundle.decide(report, partner, policy.Circumstances(reports.NOW, posture or bundle.posture))


def copy(report: report_pb2.Report, partner: str) -> report_pb2.Report:
    return BUNDLES[report.originator_node].transform(report, decide(report, partner), had_everything)


@pytest.mark.parametrize("node", OTHERS)
def test_each_node_has_a_policy_for_the_two_others(node: str) -> None:
    assert BUNDLES[node].node == node
    assert tuple(BUNDLES[node].partners) == OTHERS[node]


@pytest.mark.parametrize(("node", "partner"), PAIRS)
def test_launch_flight_and_impact_of_a_launch_from_prk_are_released(node: str, partner: str) -> None:
    for report in (reports.launch(envelope(node)), reports.track(envelope(node)), reports.impact(envelope(node))):
        decision = decide(report, partner)
        assert decision.outcome is Outcome.RELEASED, decision.rule
        assert decision.agreement == "trilateral-2023"
    copied = copy(reports.launch(envelope(node)), partner)
    assert copied.launch_detection.launch_point.latitude_deg == 39.2
    assert list(copied.marking.releasable_to) == []


@pytest.mark.parametrize(("node", "partner"), PAIRS)
def test_exercise_is_released_and_test_withheld(node: str, partner: str) -> None:
    exercise = envelope(node, report_pb2.TRAFFIC_CLASS_EXERCISE)
    assert decide(reports.track(exercise), partner).outcome is Outcome.RELEASED
    assert decide(reports.track(envelope(node, TEST)), partner).rule == "technical-tests-stay-at-home"


@pytest.mark.parametrize(
    ("node", "partner", "rule"),
    [
        ("JPN", "KOR", "launches-from-elsewhere-stay-at-home"),
        ("JPN", "USA", "launches-from-elsewhere-stay-at-home"),
        ("KOR", "JPN", "(no rule releases it)"),
        ("USA", "KOR", "(no rule releases it)"),
    ],
)
def test_a_launch_from_elsewhere_is_withheld(node: str, partner: str, rule: str) -> None:
    for country in ("RUS", "UNKNOWN"):
        decision = decide(reports.track(envelope(node, launch_country=country)), partner)
        assert (decision.outcome, decision.rule) == (Outcome.WITHHELD, rule)


@pytest.mark.parametrize(("node", "partner"), PAIRS)
def test_top_secret_is_above_the_ceiling(node: str, partner: str) -> None:
    report = reports.launch(envelope(node, classification=report_pb2.CLASSIFICATION_TOP_SECRET))
    assert decide(report, partner).rule == "(above the ceiling)"


@pytest.mark.parametrize(
    ("node", "partner", "station"),
    [
        ("JPN", "KOR", ""),
        ("JPN", "USA", "north/radar-1"),
        ("KOR", "JPN", ""),
        ("KOR", "USA", "north/radar-1"),
        ("USA", "JPN", ""),
        ("USA", "KOR", ""),
    ],
)
def test_the_station_goes_to_the_united_states_alone(node: str, partner: str, station: str) -> None:
    copied = copy(reports.track(envelope(node)), partner)
    assert copied.originator_station == station
    assert copied.HasField("source_sequence") is bool(station)
    assert copied.track == reports.track().track


def test_japan_tells_korea_of_a_possible_launch_in_tension_only() -> None:
    report = reports.launch(envelope("JPN"))
    report.launch_detection.certainty = report_pb2.CERTAINTY_POSSIBLE
    assert decide(report, "KOR").rule == "possible-launch-only-in-tension"
    assert decide(report, "KOR", "HEIGHTENED").outcome is Outcome.RELEASED
    assert decide(report, "USA").outcome is Outcome.RELEASED


def test_korea_keeps_tracks_of_close_range_missiles_from_japan_and_not_from_the_usa() -> None:
    report = reports.track(envelope("KOR"))
    report.track.missile_class = report_pb2.MISSILE_CLASS_CRBM
    assert decide(report, "JPN").rule == "close-range-tracks-stay-at-home"
    assert decide(report, "USA").outcome is Outcome.RELEASED


def test_korea_keeps_what_is_for_korea_and_the_usa_alone_from_japan() -> None:
    report = reports.launch(envelope("KOR", caveats=["KOR-USA ONLY"]))
    assert decide(report, "JPN").rule == "kor-usa-only"
    assert decide(report, "USA").outcome is Outcome.RELEASED


@pytest.mark.parametrize("partner", ["JPN", "KOR"])
def test_the_usa_releases_what_its_satellites_see_and_not_what_its_radars_detect(partner: str) -> None:
    report = reports.launch(envelope("USA"))
    assert decide(report, partner).rule == "prk-launch-seen-from-space"
    report.launch_detection.sensor_modality = report_pb2.SENSOR_MODALITY_SEA_RADAR
    assert decide(report, partner).rule == "(no rule releases it)"


@pytest.mark.parametrize(("node", "partner"), PAIRS)
def test_recalls_follow(node: str, partner: str) -> None:
    had = {(node, report_id(1))}
    bundle = BUNDLES[node]
    report = reports.correction([report_id(1), report_id(2)], report=envelope(node))
    decision = bundle.narrow(report, decide(report, partner), lambda *named: named in had)
    copied = bundle.transform(report, decision, lambda *named: named in had)
    assert list(copied.correction.report_ids) == [report_id(1)]
    unknown = reports.cancellation([report_id(2)], envelope(node))
    narrowed = bundle.narrow(unknown, decide(unknown, partner), lambda *named: named in had)
    assert narrowed.rule == "(refers to nothing the partner has)"
    assert decide(reports.all_clear(envelope(node)), partner).outcome is Outcome.RELEASED
