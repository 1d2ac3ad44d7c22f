"""Every report of a timeline is one that a gateway takes, and together they tell a story that holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from signalfire.v1 import report_pb2

from gateway.demo.reports import TimedReport, timeline
from gateway.demo.wgs84 import Point, ground_distance_m
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import canonical, parse_report
from gateway.reports.validate import validate_submitted
from tests.demo.world import NAMES, SEED, SHIFT, played, scenario

SEVEN, JAPAN_2017, EIGHT = NAMES
LIMITS = ReportLimits()
EACH = pytest.mark.parametrize("name", NAMES)


def of_kind(name: str, kind: str, node: str | None = None) -> list[TimedReport]:
    return [
        item
        for item in played(name)
        if item.report.WhichOneof("content") == kind and (node is None or item.node == node)
    ]


def by_event(name: str) -> dict[tuple[str, str], list[TimedReport]]:
    events: dict[tuple[str, str], list[TimedReport]] = defaultdict(list)
    for item in played(name):
        events[item.node, item.report.event_id].append(item)
    return events


def withdrawn_by(item: TimedReport) -> list[str]:
    return [*item.report.correction.report_ids, *item.report.cancellation.report_ids]


@EACH
@pytest.mark.parametrize("seed", [0, SEED, 12345])
def test_a_gateway_takes_every_report(name: str, seed: int) -> None:
    for item in timeline(scenario(name), shift=SHIFT, seed=seed):
        report = parse_report(item.report.SerializeToString(), LIMITS)
        violations = validate_submitted(report, node=item.node, now=report.report_time.ToNanoseconds(), limits=LIMITS)
        assert [str(violation) for violation in violations] == []


@EACH
def test_a_scenario_makes_some_hundreds_to_fifteen_hundred_reports_by_all_three_nations(name: str) -> None:
    assert 300 <= len(played(name)) <= 1_550
    assert {item.node for item in played(name)} == {"JPN", "KOR", "USA"}


@EACH
def test_the_same_call_gives_the_same_reports_to_the_byte(name: str) -> None:
    again = timeline(scenario(name), shift=SHIFT, seed=SEED)
    assert [(item.at, canonical(item.report)) for item in again] == [
        (item.at, canonical(item.report)) for item in played(name)
    ]


@EACH
def test_another_shift_moves_every_time_alike_and_gives_other_reports(name: str) -> None:
    more = timedelta(hours=5, microseconds=3)
    later = timeline(scenario(name), shift=SHIFT + more, seed=SEED)
    moved = more // timedelta(microseconds=1) * 1_000
    for before, after in zip(played(name), later, strict=True):
        assert after.at == before.at
        assert after.report.report_id != before.report.report_id
        for time in ("report_time", "valid_time"):
            assert getattr(after.report, time).ToNanoseconds() - getattr(before.report, time).ToNanoseconds() == moved
    firsts = [
        next(item for item in items if item.report.HasField("launch_detection")) for items in (played(name), later)
    ]
    launch_times = [item.report.launch_detection.launch_time.ToNanoseconds() for item in firsts]
    assert launch_times[1] - launch_times[0] == moved


@EACH
def test_reports_come_in_order_at_the_time_that_they_were_made(name: str) -> None:
    instants = [item.at for item in played(name)]
    assert instants == sorted(instants)
    start = scenario(name).start + SHIFT
    for item in played(name):
        made = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=item.report.report_time.ToMicroseconds())
        assert made == start + timedelta(seconds=item.at)


@EACH
def test_each_station_numbers_its_reports_from_one_without_a_gap(name: str) -> None:
    numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for item in played(name):
        assert (item.node, item.station) == (item.report.originator_node, item.report.originator_station)
        numbers[item.node, item.station].append(item.report.source_sequence)
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


@EACH
def test_a_report_builds_only_on_earlier_reports_of_its_own_nation(name: str) -> None:
    made: set[tuple[str, str]] = set()
    for item in played(name):
        for reference in item.report.references:
            assert reference.originator_node == item.node
            assert (reference.originator_node, reference.report_id) in made
        assert all((item.node, report_id) in made for report_id in withdrawn_by(item))
        made.add((item.node, item.report.report_id))
    assert len(made) == len(played(name))


@EACH
def test_nothing_is_ever_live(name: str) -> None:
    assert {item.report.traffic_class for item in played(name)} == {report_pb2.TRAFFIC_CLASS_EXERCISE}


@EACH
def test_the_first_detection_of_an_event_is_the_only_flash_one(name: str) -> None:
    for items in by_event(name).values():
        urgencies = [item.report.precedence for item in items if item.report.HasField("launch_detection")]
        assert urgencies[0] == report_pb2.PRECEDENCE_FLASH
        assert set(urgencies[1:]) <= {report_pb2.PRECEDENCE_IMMEDIATE}
        assert items[0].report.HasField("launch_detection")


@EACH
def test_precedence_follows_the_kind_of_report(name: str) -> None:
    z, o, p = report_pb2.PRECEDENCE_FLASH, report_pb2.PRECEDENCE_IMMEDIATE, report_pb2.PRECEDENCE_PRIORITY
    allowed = {
        "launch_detection": {z, o},
        "track": {o, p},
        "impact_prediction": {z, o},
        "correction": {z},
        "cancellation": {z},
        "all_clear": {p},
    }
    for item in played(name):
        assert item.report.precedence in allowed[item.report.WhichOneof("content") or ""]


@EACH
def test_every_event_ends_with_an_all_clear_or_was_none(name: str) -> None:
    for items in by_event(name).values():
        assert items[-1].report.WhichOneof("content") in ("all_clear", "cancellation")
        assert Counter(item.report.WhichOneof("content") for item in items)["all_clear"] <= 1


@EACH
def test_each_nation_names_events_and_tracks_in_its_own_way(name: str) -> None:
    prefixes = {"JPN": ("JPN-BM-", "JA"), "KOR": ("KR.", "KR"), "USA": ("US/EV/", "US")}
    for item in played(name):
        event, track = prefixes[item.node]
        assert item.report.event_id.startswith(event)
        if item.report.HasField("track"):
            assert item.report.track.track_number.startswith(track)


@EACH
def test_a_nation_counts_the_events_that_it_knows_of_in_order(name: str) -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    for node, event in by_event(name):
        seen[node].append(event)
    for events in seen.values():
        assert [int(event[-2:]) for event in events] == list(range(1, len(events) + 1))


@EACH
def test_a_track_keeps_its_identifier_and_number_begins_initiating_and_ends_terminated(name: str) -> None:
    tracks: dict[str, list[report_pb2.Track]] = defaultdict(list)
    for item in of_kind(name, "track"):
        tracks[item.report.track.track_id].append(item.report.track)
    assert len({points[0].track_number for points in tracks.values()}) <= len(tracks)
    for points in tracks.values():
        assert len({point.track_number for point in points}) == 1
        assert points[0].status == report_pb2.TRACK_STATUS_INITIATING
        assert points[-1].status == report_pb2.TRACK_STATUS_TERMINATED
        statuses = [point.status for point in points]
        assert statuses == sorted(statuses)


@EACH
def test_a_measured_point_has_a_velocity_and_the_covariance_of_both(name: str) -> None:
    for item in of_kind(name, "track"):
        track = item.report.track
        measured = track.point_type == report_pb2.TRACK_POINT_TYPE_MEASURED
        assert track.HasField("velocity") == measured
        assert len(track.covariance.upper_triangle) == (21 if measured else 6)


@EACH
def test_every_report_is_marked_as_releasable_to_the_other_two_so_that_policy_decides(name: str) -> None:
    nodes = {"JPN", "KOR", "USA"}
    for item in played(name):
        assert set(item.report.marking.releasable_to) == nodes - {item.node}


@EACH
def test_a_caveat_that_excludes_a_partner_is_borne_by_some_korean_tracks_and_by_nothing_else(name: str) -> None:
    bearers = [item for item in played(name) if "KOR-USA ONLY" in item.report.marking.caveats]
    assert all(item.node == "KOR" and item.report.HasField("track") for item in bearers)
    tracks = of_kind(name, "track", "KOR")
    narrow = sum("KOR-USA ONLY" in item.report.marking.caveats for item in tracks)
    assert 0 < narrow < len(tracks) / 2


@EACH
def test_what_rests_on_a_sensor_in_space_says_so(name: str) -> None:
    space = [item for item in played(name) if item.station == "space-ir"]
    assert space
    assert all("SPACE-DERIVED" in item.report.marking.caveats for item in space)


@EACH
def test_predictions_that_stand_come_true_about_as_often_as_they_claim(name: str) -> None:
    withdrawn = {report_id for item in played(name) for report_id in withdrawn_by(item)}
    misses = []
    for item in of_kind(name, "impact_prediction"):
        if item.report.report_id in withdrawn:
            continue
        # No flight of these scenarios is still under way at the next launch.
        launch = [each for each in scenario(name).launches if scenario(name).seconds_to(each) < item.at][-1]
        prediction = item.report.impact_prediction
        point = Point(prediction.impact_point.latitude_deg, prediction.impact_point.longitude_deg)
        miss_m = ground_distance_m(point, launch.flight().impact)
        misses.append(miss_m / prediction.impact_point_error.semi_major_m)
    assert max(misses) < 2
    assert sum(miss < 1 for miss in misses) / len(misses) > 0.9


@EACH
def test_no_prediction_comes_after_the_impact_that_it_foretells_save_a_replacement(name: str) -> None:
    for item in of_kind(name, "impact_prediction"):
        replaces = any(
            reference.relation == report_pb2.REFERENCE_RELATION_REPLACES for reference in item.report.references
        )
        lead_s = (
            item.report.impact_prediction.impact_time.ToNanoseconds() - item.report.report_time.ToNanoseconds()
        ) / 1e9
        assert replaces or lead_s > 10 - 4 * item.report.impact_prediction.impact_time_uncertainty.ToNanoseconds() / 1e9


def test_the_early_estimate_of_2006_is_predicted_then_corrected_and_replaced() -> None:
    (correction,) = of_kind(SEVEN, "correction")
    assert correction.node == "USA"
    withdrawn = set(correction.report.correction.report_ids)
    early = [item for item in played(SEVEN) if item.report.report_id in withdrawn]
    assert early
    assert all(item.report.impact_prediction.impact_point.longitude_deg > 134 for item in early)
    (replacement,) = (
        item for item in played(SEVEN) if item.report.report_id == correction.report.correction.replacement_report_id
    )
    assert replacement.at > correction.at
    assert {reference.report_id for reference in replacement.report.references} == withdrawn
    assert {reference.relation for reference in replacement.report.references} == {
        report_pb2.REFERENCE_RELATION_REPLACES
    }
    assert replacement.report.impact_prediction.impact_point.longitude_deg == pytest.approx(129.7, abs=0.2)


def test_the_early_estimate_over_japan_is_corrected_in_flight_and_predictions_go_on() -> None:
    (correction,) = of_kind(JAPAN_2017, "correction")
    assert correction.node == "JPN"
    later = [item for item in of_kind(JAPAN_2017, "impact_prediction", "JPN") if item.at > correction.at]
    assert len(later) > 5
    withdrawn = set(correction.report.correction.report_ids)
    earlier = [item for item in of_kind(JAPAN_2017, "impact_prediction", "JPN") if item.at < correction.at]
    assert {item.report.report_id for item in earlier} == withdrawn
    late_east = min(item.report.impact_prediction.impact_point.longitude_deg for item in later)
    early_east = max(item.report.impact_prediction.impact_point.longitude_deg for item in earlier)
    assert late_east > early_east + 1


def test_the_duplicate_of_2022_is_an_event_of_its_own_that_is_cancelled() -> None:
    (cancellation,) = of_kind(EIGHT, "cancellation")
    (withdrawn,) = cancellation.report.cancellation.report_ids
    (duplicate,) = (item for item in played(EIGHT) if item.report.report_id == withdrawn)
    assert duplicate.report.event_id == cancellation.report.event_id
    assert duplicate.report.precedence == cancellation.report.precedence
    assert by_event(EIGHT)["KOR", duplicate.report.event_id] == [duplicate, cancellation]
    assert len({event for node, event in by_event(EIGHT) if node == "KOR"}) == 9


@EACH
def test_a_country_is_unknown_only_where_the_launch_is_merely_possible(name: str) -> None:
    unknown = [item for item in played(name) if item.report.threat.launch_country == "UNKNOWN"]
    assert len(unknown) <= 4
    for item in unknown:
        detection = item.report.launch_detection
        assert detection.certainty == report_pb2.CERTAINTY_POSSIBLE
        assert detection.missile_class == report_pb2.MISSILE_CLASS_UNKNOWN
        assert not item.report.threat.launch_area


@pytest.mark.parametrize("seed", range(5))
def test_japan_first_sees_a_low_flight_of_2022_without_knowing_whose_it_is_and_then_knows(seed: int) -> None:
    items = timeline(scenario(EIGHT), shift=SHIFT, seed=seed)
    unknown = [item for item in items if item.report.threat.launch_country == "UNKNOWN"]
    assert unknown
    for item in unknown:
        following = next(
            later
            for later in items
            if any(reference.report_id == item.report.report_id for reference in later.report.references)
            and later.report.HasField("launch_detection")
        )
        assert following.report.threat.launch_country == "PRK"


@EACH
def test_the_nations_disagree_about_one_launch_as_real_ones_do(name: str) -> None:
    first = {
        node: next(item for item in of_kind(name, "launch_detection", node)).report.launch_detection
        for node in ("JPN", "KOR", "USA")
    }
    assert len({detection.launch_time.ToNanoseconds() for detection in first.values()}) == 3
    assert len({detection.launch_point.latitude_deg for detection in first.values()}) == 3
