"""The example policies decide as their comments say, and their own cases and invariants bear them out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

import policy
from policy import Bundle, Circumstances, Decision, Outcome, prove
from policy.cases import read_cases
from policy.format import formatted
from policy.prove import Status
from policy.testing import run
from tests.policy import reports
from tests.policy.mutants import BUNDLES as NAMES
from tests.policy.mutants import EXAMPLES
from tests.policy.reports import had_everything, report_id

ALL = {name: policy.load(EXAMPLES / name) for name in NAMES}


def test_every_bundle_of_the_examples_is_among_them() -> None:
    found = {path.parent.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("policy.yaml")}
    assert found == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_cases_of_each_pass_and_cover_every_rule(name: str) -> None:
    results = run(ALL[name], read_cases(ALL[name]))
    assert [f"{result.case}: {result.failures}" for result in results.results if not result.passed] == []
    assert [f"{rule.partner}: {rule.rule} {rule.missing}" for rule in results.coverage if rule.missing] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_invariants_of_each_are_proved_and_no_rule_is_shadowed(name: str) -> None:
    verdicts = prove.prove(ALL[name])
    assert verdicts
    assert [verdict for verdict in verdicts if verdict.status is not Status.PROVED] == []
    assert prove.shadowed(ALL[name]) == ()


@pytest.mark.parametrize("name", NAMES)
def test_each_is_laid_out_as_fmt_lays_it_out_and_names_its_schemas(name: str) -> None:
    for file, content in ALL[name].files.items():
        if file.endswith(".yaml"):
            assert formatted(file, content) == content, file
            schema = content.decode().partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
            assert ((EXAMPLES / name / file).parent / schema).resolve().is_relative_to(Path(policy.__file__).parent)
            assert ((EXAMPLES / name / file).parent / schema).exists(), file


# --- three nations

BUNDLES = {node: ALL[f"trilateral/{node.lower()}"] for node in ("JPN", "KOR", "USA")}
OTHERS = {"JPN": ("KOR", "USA"), "KOR": ("JPN", "USA"), "USA": ("JPN", "KOR")}
PAIRS = [(node, partner) for node, partners in OTHERS.items() for partner in partners]

LIVE = report_pb2.TRAFFIC_CLASS_LIVE
EXERCISE = report_pb2.TRAFFIC_CLASS_EXERCISE
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
    return bundle.decide(report, partner, Circumstances(reports.NOW, posture or bundle.posture))


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
def test_what_is_confirmed_goes_unchanged_in_an_exercise_whatever_sensor_saw_it(node: str, partner: str) -> None:
    """The demo replays history as an exercise, and says of each nation what it was told."""
    modalities = report_pb2.SensorModality.values()[1:]
    for modality in modalities:
        report = reports.track(envelope(node, EXERCISE))
        report.track.sensor_modality = modality
        assert decide(report, partner).outcome is Outcome.RELEASED
        assert not copy(report, partner).derivations


@pytest.mark.parametrize(("node", "partner"), PAIRS)
def test_exercise_is_released_and_test_withheld(node: str, partner: str) -> None:
    assert decide(reports.track(envelope(node, EXERCISE)), partner).outcome is Outcome.RELEASED
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


# --- a coalition, and a civil tier


def test_the_coalition_has_eight_members_and_three_tiers() -> None:
    bundle = ALL["coalition"]
    assert {bundle.node, *bundle.partners} == set(bundle.vocabulary.countries["members"])
    parties = [set(agreement.parties) - {bundle.node} for agreement in bundle.agreements.values()]
    assert set().union(*parties) == set(bundle.partners)


def test_each_farther_tier_of_the_coalition_gets_fewer_fields_of_a_launch() -> None:
    gets = []
    for partner in ("USA", "NOR", "POL"):
        report = reports.launch(reports.envelope(node="CAN", releasable_to=[partner]))
        report.launch_detection.sensor_modality = report_pb2.SENSOR_MODALITY_GROUND_RADAR
        later = Circumstances(reports.NOW.replace(hour=13), "ROUTINE", accepted=reports.NOW)
        gets.append(set(ALL["coalition"].decide(report, partner, later).fields))
    inner, northern, outer = gets
    assert inner > northern > outer > set()


@pytest.mark.parametrize("partner", ["GUM", "PLW"])
@pytest.mark.parametrize("posture", ["ROUTINE", "HEIGHTENED", "IMMINENT"])
@pytest.mark.parametrize("trusted", [True, False])
def test_every_live_recall_reaches_the_civil_tier_whatever_the_circumstances(
    partner: str, posture: str, trusted: bool
) -> None:
    for level in report_pb2.Classification.values()[1:]:
        for hour in (0, 12):
            envelope = reports.envelope(node="USA", releasable_to=[partner], classification=level, caveats=["DRILL"])
            now = Circumstances(reports.NOW.replace(year=2060, hour=hour), posture, clock_trusted=trusted)
            for report in (
                reports.all_clear(envelope),
                reports.cancellation([report_id(1)], envelope),
                reports.correction([report_id(1)], report=envelope),
            ):
                decision = ALL["civil"].decide(report, partner, now)
                assert (decision.outcome, decision.rule) == (Outcome.RELEASED, "recall")
