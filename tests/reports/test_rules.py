from __future__ import annotations

from typing import Any

import pytest
from signalfire.v1 import report_pb2

from tests.reports.doors import HOUR, MADE, Example, corners, refer, released, submitted, time
from tests.reports.examples import (
    NOW,
    SECOND,
    all_clear,
    cancellation,
    correction,
    impact_prediction,
    launch_detection,
    report_id,
    track,
)

IN_RANGE: list[tuple[Example, dict[str, Any]]] = [
    (launch_detection, {"launch_detection__launch_point__latitude_deg": -90.0}),
    (launch_detection, {"launch_detection__launch_point__longitude_deg": 180.0}),
    (launch_detection, {"launch_detection__launch_point__latitude_deg": 0.0}),
    (launch_detection, {"launch_detection__launch_point__height_m": None}),
    (launch_detection, {"launch_detection__launch_point_error__semi_minor_m": 9_000.0}),
    (launch_detection, {"launch_detection__launch_point_error__orientation_deg": 0.0}),
    (launch_detection, {"launch_detection__initial_azimuth_deg": 0.0}),
    (launch_detection, {"launch_detection__initial_azimuth_deg": 359.999}),
    (launch_detection, {"launch_detection__object_count": 1_000}),
    (launch_detection, time("launch_detection__launch_time", MADE)),
    (launch_detection, time("launch_detection__launch_time", 0)),
    (launch_detection, time("launch_detection__launch_time_uncertainty", HOUR)),
    (launch_detection, time("clock_uncertainty", 0)),
    (launch_detection, time("report_time", NOW + 5 * SECOND)),
    (launch_detection, {"threat__launch_country": "UNKNOWN"}),
    (launch_detection, {"threat__launch_area": "平壌国際空港"}),
    (launch_detection, {"marking__releasable_to": [], "marking__onward_release": [], "marking__caveats": []}),
    (launch_detection, {"precedence": report_pb2.PRECEDENCE_PRIORITY, "references": [refer(report_id(1))]}),
    (
        launch_detection,
        {"launch_detection__initial_azimuth_deg": None, "launch_detection__azimuth_uncertainty_deg": None},
    ),
    (launch_detection, {"traffic_class": report_pb2.TRAFFIC_CLASS_EXERCISE, "threat__launch_country": "XAA"}),
    (launch_detection, {"references": [refer(report_id(0), node="KOR"), refer(report_id(0), node="USA")]}),
    (track, {"track__quality": 0}),
    (track, {"track__velocity": None, "track__covariance": None}),
    (track, {"track__covariance__upper_triangle": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]}),
    (track, {"track__point_type": report_pb2.TRACK_POINT_TYPE_PREDICTED, **time("valid_time", MADE + HOUR)}),
    (impact_prediction, time("impact_prediction__impact_time", MADE + 2 * HOUR)),
    (impact_prediction, {"impact_prediction__track_id": ""}),
    (impact_prediction, {"impact_prediction__warning_area": None}),
    (
        impact_prediction,
        {"impact_prediction__warning_area__corners": corners((10, 179), (10, -179), (12, -179), (12, 179))},
    ),
    (correction, {"correction__replacement_report_id": "", "correction__explanation": ""}),
    (cancellation, {"cancellation__report_ids": [report_id(seed) for seed in range(1, 401)]}),
    (all_clear, {"all_clear__explanation": "x" * 512}),
]


@pytest.mark.parametrize(("example", "changes"), IN_RANGE)
def test_the_ends_of_each_range_belong_to_it(example: Example, changes: dict[str, Any]) -> None:
    report = example(**changes)
    assert submitted(report) == []
    assert released(report) == []


WRONG_AT_BOTH_DOORS: list[tuple[Example, str, dict[str, Any]]] = [
    (track, "report_id", {"report_id": "not-a-uuid"}),
    (track, "report_id", {"report_id": report_id(0).upper()}),
    (track, "report_id", {"report_id": "{" + report_id(0) + "}"}),
    (track, "report_id", {"report_id": report_id(0) + "\n"}),
    (track, "report_id", {"report_id": report_id(0).replace("-", "")}),
    (track, "report_id", {"report_id": "00000000-0000-0000-0000-000000000000"}),
    (track, "report_id", {"report_id": "ffffffff-ffff-ffff-ffff-ffffffffffff"}),
    (track, "report_id", {"report_id": "5e2b0f4c-1111-0111-8111-111111111111"}),
    (track, "report_id", {"report_id": "5e2b0f4c-1111-4111-c111-111111111111"}),
    (track, "report_id", {"report_id": "\u0665e2b0f4c-1111-4111-8111-111111111111"}),
    (track, "originator_node", {"originator_node": "KOR"}),
    (track, "originator_station", {"originator_station": "a" * 65}),
    (track, "originator_station", {"originator_station": "a station"}),
    (track, "originator_station", {"originator_station": "レーダー"}),
    (track, "source_sequence", {"source_sequence": 0}),
    (track, "event_id", {"event_id": "event#1"}),
    (track, "event_id", {"event_id": "event\n"}),
    (track, "report_time", {"report_time__seconds": -1}),
    (track, "report_time", {"report_time__seconds": 7_289_654_400}),
    (track, "report_time", {"report_time__nanos": 1_000_000_000}),
    (track, "report_time", {"report_time__nanos": -1}),
    (track, "valid_time", {"valid_time__nanos": -1}),
    (track, "clock_uncertainty", {"clock_uncertainty__seconds": -1, "clock_uncertainty__nanos": 0}),
    (track, "clock_uncertainty", {"clock_uncertainty__seconds": 0, "clock_uncertainty__nanos": -1}),
    (track, "clock_uncertainty", {"clock_uncertainty__seconds": 1, "clock_uncertainty__nanos": -1}),
    (track, "clock_uncertainty", {"clock_uncertainty__nanos": 1_000_000_000}),
    (track, "clock_uncertainty", time("clock_uncertainty", HOUR + 1)),
    (track, "traffic_class", {"traffic_class": 4}),
    (track, "precedence", {"precedence": 5}),
    (track, "precedence", {"precedence": -1}),
    (track, "marking.policy", {"marking__policy": "jpn"}),
    (track, "marking.policy", {"marking__policy": "A" * 33}),
    (track, "marking.classification", {"marking__classification": 6}),
    (track, "marking.releasable_to[1]", {"marking__releasable_to": ["KOR", "XXX"]}),
    (track, "marking.releasable_to[0]", {"marking__releasable_to": ["UNKNOWN", "KOR"]}),
    (track, "marking.releasable_to[2]", {"marking__releasable_to": ["KOR", "USA", "KOR"]}),
    (track, "marking.releasable_to[0]", {"marking__releasable_to": [""]}),
    (track, "marking.releasable_to", {"marking__releasable_to": ["KOR"] * 65}),
    (track, "marking.caveats[0]", {"marking__caveats": ["eyes"]}),
    (track, "marking.caveats[0]", {"marking__caveats": [""]}),
    (track, "marking.caveats[1]", {"marking__caveats": ["A", "A"]}),
    (track, "marking.caveats", {"marking__caveats": [f"C{index}" for index in range(17)]}),
    (track, "marking.onward_release[0]", {"marking__onward_release": ["EUE"]}),
    (track, "marking.onward_release[1]", {"marking__onward_release": ["AUS", "AUS"]}),
    (track, "marking.onward_release", {"marking__onward_release": ["AUS"] * 65}),
    (track, "threat.launch_country", {"threat__launch_country": "XAA"}),
    (track, "threat.launch_country", {"threat__launch_country": "unknown"}),
    (track, "threat.launch_area", {"threat__launch_area": "a" * 65}),
    (track, "threat.launch_area", {"threat__launch_area": "Sunan\x00"}),
    (track, "threat.launch_area", {"threat__launch_area": "Sunan\u202e"}),
    (track, "references", {"references": [refer(report_id(seed)) for seed in range(1, 66)]}),
    (track, "references[0].originator_node", {"references": [refer(report_id(1), node="XXA")]}),
    (track, "references[0].report_id", {"references": [refer("x")]}),
    (track, "references[0].relation", {"references": [refer(report_id(1), relation=5)]}),  # type: ignore[arg-type]  # undefined on purpose
    (track, "references[0].report_id", {"references": [refer(report_id(0))]}),
    (track, "references[1].report_id", {"references": [refer(report_id(1)), refer(report_id(1))]}),
    (launch_detection, "launch_detection.launch_time", {"launch_detection__launch_time__seconds": -5}),
    (
        launch_detection,
        "launch_detection.launch_time_uncertainty",
        time("launch_detection__launch_time_uncertainty", HOUR + 1),
    ),
    (
        launch_detection,
        "launch_detection.launch_point.latitude_deg",
        {"launch_detection__launch_point__latitude_deg": 91.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point.longitude_deg",
        {"launch_detection__launch_point__longitude_deg": -180.1},
    ),
    (
        launch_detection,
        "launch_detection.launch_point.height_m",
        {"launch_detection__launch_point__height_m": -12_001.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.semi_major_m",
        {"launch_detection__launch_point_error__semi_major_m": 20_000_001.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.semi_major_m",
        {"launch_detection__launch_point_error__semi_major_m": 0.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.semi_minor_m",
        {"launch_detection__launch_point_error__semi_minor_m": 0.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.semi_minor_m",
        {"launch_detection__launch_point_error__semi_minor_m": 9_001.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.orientation_deg",
        {"launch_detection__launch_point_error__orientation_deg": 180.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.containment",
        {"launch_detection__launch_point_error__containment": 1.0},
    ),
    (
        launch_detection,
        "launch_detection.launch_point_error.containment",
        {"launch_detection__launch_point_error__containment": 0.0},
    ),
    (launch_detection, "launch_detection.initial_azimuth_deg", {"launch_detection__initial_azimuth_deg": 360.0}),
    (
        launch_detection,
        "launch_detection.azimuth_uncertainty_deg",
        {"launch_detection__azimuth_uncertainty_deg": 180.5},
    ),
    (launch_detection, "launch_detection.object_count", {"launch_detection__object_count": 0}),
    (launch_detection, "launch_detection.object_count", {"launch_detection__object_count": 1_001}),
    (launch_detection, "launch_detection.missile_class", {"launch_detection__missile_class": 11}),
    (launch_detection, "launch_detection.sensor_modality", {"launch_detection__sensor_modality": 7}),
    (launch_detection, "launch_detection.certainty", {"launch_detection__certainty": 4}),
    (launch_detection, "launch_detection.confidence", {"launch_detection__confidence": 1.01}),
    (track, "track.track_id", {"track__track_id": "JA017"}),
    (track, "track.track_number", {"track__track_number": "ja017"}),
    (track, "track.track_number", {"track__track_number": "J" * 17}),
    (track, "track.status", {"track__status": 5}),
    (track, "track.point_type", {"track__point_type": 4}),
    (track, "track.position.height_m", {"track__position__height_m": 50_000_001.0}),
    (track, "track.velocity.frame", {"track__velocity__frame": 3}),
    (track, "track.velocity.x_mps", {"track__velocity__x_mps": 20_001.0}),
    (track, "track.velocity.y_mps", {"track__velocity__y_mps": -20_001.0}),
    (track, "track.velocity.z_mps", {"track__velocity__z_mps": float("inf")}),
    (track, "track.covariance.frame", {"track__covariance__frame": 3}),
    (track, "track.covariance.upper_triangle", {"track__covariance__upper_triangle": [1.0] * 7}),
    (track, "track.covariance.upper_triangle[20]", {"track__covariance__upper_triangle__20": float("nan")}),
    (track, "track.covariance.upper_triangle", {"track__covariance__upper_triangle__0": -9.0e4}),
    (track, "track.covariance.upper_triangle", {"track__covariance__upper_triangle__1": 9.0e4}),
    (track, "track.quality", {"track__quality": 16}),
    (track, "track.sensor_modality", {"track__sensor_modality": 7}),
    (track, "track.missile_class", {"track__missile_class": 11}),
    (impact_prediction, "impact_prediction.impact_time", {"impact_prediction__impact_time__nanos": -1}),
    (
        impact_prediction,
        "impact_prediction.impact_time_uncertainty",
        {"impact_prediction__impact_time_uncertainty__seconds": -1},
    ),
    (
        impact_prediction,
        "impact_prediction.impact_point.latitude_deg",
        {"impact_prediction__impact_point__latitude_deg": -90.01},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners",
        {"impact_prediction__warning_area__corners": corners((1, 1), (1, 2))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners",
        {"impact_prediction__warning_area__corners": corners(*[(1, 1)] * 257)},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[2].height_m",
        {"impact_prediction__warning_area__corners__2__height_m": 0.0},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[3].longitude_deg",
        {"impact_prediction__warning_area__corners__3__longitude_deg": 181.0},
    ),
    (impact_prediction, "impact_prediction.basis_time", {"impact_prediction__basis_time__seconds": -1}),
    (impact_prediction, "impact_prediction.confidence", {"impact_prediction__confidence": -0.1}),
    (impact_prediction, "impact_prediction.track_id", {"impact_prediction__track_id": "JA017"}),
    (correction, "correction.report_ids[1]", {"correction__report_ids__1": "x"}),
    (correction, "correction.report_ids[1]", {"correction__report_ids": [report_id(1), report_id(1)]}),
    (correction, "correction.report_ids[1]", {"correction__report_ids__1": report_id(0)}),
    (correction, "correction.reason", {"correction__reason": 6}),
    (correction, "correction.replacement_report_id", {"correction__replacement_report_id": "x"}),
    (
        correction,
        "correction.replacement_report_id",
        {"correction__replacement_report_id": report_id(0, "wrong")},
    ),
    (correction, "correction.replacement_report_id", {"correction__replacement_report_id": report_id(0)}),
    (correction, "correction.explanation", {"correction__explanation": "a" * 513}),
    (cancellation, "cancellation.report_ids[0]", {"cancellation__report_ids__0": report_id(0)}),
    (cancellation, "cancellation.report_ids", {"cancellation__report_ids": [report_id(1)] * 401}),
    (cancellation, "cancellation.reason", {"cancellation__reason": 99}),
    (cancellation, "cancellation.explanation", {"cancellation__explanation": "a\tb"}),
    (all_clear, "all_clear.reason", {"all_clear__reason": 99}),
    (all_clear, "all_clear.explanation", {"all_clear__explanation": "line\nline"}),
]


@pytest.mark.parametrize(("example", "field", "changes"), WRONG_AT_BOTH_DOORS)
def test_a_wrong_value_is_refused_at_both_doors_by_the_name_of_its_field(
    example: Example, field: str, changes: dict[str, Any]
) -> None:
    report = example(**changes)
    assert submitted(report) == [field]
    assert released(report) == [field]


WRONG_AT_THE_C2_DOOR: list[tuple[Example, str, dict[str, Any]]] = [
    (all_clear, "valid_time", time("valid_time", MADE + 1)),
    (track, "valid_time", time("valid_time", MADE + 1)),
    (launch_detection, "launch_detection.launch_time", time("launch_detection__launch_time", MADE + 1)),
    (impact_prediction, "impact_prediction.impact_time", time("impact_prediction__impact_time", MADE + 2 * HOUR + 1)),
    (impact_prediction, "impact_prediction.basis_time", time("impact_prediction__basis_time", MADE + 1)),
    (
        track,
        "valid_time",
        {"track__point_type": report_pb2.TRACK_POINT_TYPE_PREDICTED, **time("valid_time", MADE + HOUR + 1)},
    ),
    (launch_detection, "launch_detection.initial_azimuth_deg", {"launch_detection__initial_azimuth_deg": None}),
    (
        launch_detection,
        "launch_detection.azimuth_uncertainty_deg",
        {"launch_detection__azimuth_uncertainty_deg": None},
    ),
    (launch_detection, "precedence", {"precedence": report_pb2.PRECEDENCE_IMMEDIATE}),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners",
        {"impact_prediction__warning_area__corners": corners((1, 1), (2, 1), (2, 2))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners",
        {"impact_prediction__warning_area__corners": corners((1, 1), (2, 1), (3, 1))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[1]",
        {"impact_prediction__warning_area__corners": corners((1, 1), (1, 1), (2, 2), (2, 1))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[0]",
        {"impact_prediction__warning_area__corners": corners((1, 1), (1, 2), (2, 2), (1, 1))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[1]",
        {"impact_prediction__warning_area__corners": corners((1, 180), (1, -180), (2, -179))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[2]",
        {"impact_prediction__warning_area__corners": corners((80, 0), (90, 0), (90, 77), (80, 100))},
    ),
    (
        impact_prediction,
        "impact_prediction.warning_area.corners[1]",
        {"impact_prediction__warning_area__corners": corners((10, 20), (-10, -160), (40, 70))},
    ),
]


@pytest.mark.parametrize(("example", "field", "changes"), WRONG_AT_THE_C2_DOOR)
def test_what_withholding_or_coarsening_can_bring_about_is_refused_at_the_c2_door_alone(
    example: Example, field: str, changes: dict[str, Any]
) -> None:
    report = example(**changes)
    assert submitted(report) == [field]
    assert released(report) == []
