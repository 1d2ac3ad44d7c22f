"""What nodes changed in a copy is named at the partner's door, and never at the C2 door."""

from __future__ import annotations

import pytest
from signalfire.v1 import report_pb2

from gateway.reports.derivations import PATHS
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_submitted
from policy.fields import LEAVES
from tests.reports.doors import HOUR, MADE, released, submitted, time
from tests.reports.examples import NODE, NOW, SECOND, change, launch_detection


def derivation(*fields: str, node: str = "JPN") -> report_pb2.Derivation:
    return report_pb2.Derivation(node=node, fields=fields)


def test_a_c2_system_may_not_send_a_derivation() -> None:
    report = launch_detection(derivations=[derivation("report_time")])
    (violation,) = validate_submitted(report, node=NODE, now=NOW, limits=ReportLimits())
    assert str(violation) == (
        "derivations has 1 entries, and only a release has any: leave it out: it tells what a gateway changed in a copy"
    )
    assert submitted(launch_detection(derivations=[derivation("no such field", node="?")])) == ["derivations"]


def test_a_release_may_say_what_up_to_eight_nodes_changed() -> None:
    assert released(launch_detection(derivations=[derivation("report_time")] * 8)) == []
    assert released(launch_detection(derivations=[derivation("report_time")] * 9)) == ["derivations"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (derivation("report_time", node="XYZZY"), "derivations[0].node"),
        (derivation("report_time", node="QQQ"), "derivations[0].node"),
        (derivation("report_time", node=""), "derivations[0].node"),
        (derivation(), "derivations[0].fields"),
        (derivation("report_time", "event_id", "report_time"), "derivations[0].fields[2]"),
        (derivation("report_tim"), "derivations[0].fields[0]"),
        (derivation("track.position"), "derivations[0].fields[0]"),
        (derivation("references[0].report_id"), "derivations[0].fields[0]"),
        (derivation("derivations.node"), "derivations[0].fields[0]"),
        (derivation("report_time.seconds"), "derivations[0].fields[0]"),
        (derivation(*["report_time"] * 1_000), "derivations[0].fields"),
    ],
)
def test_a_derivation_that_names_no_node_or_no_field_is_refused(wrong: report_pb2.Derivation, field: str) -> None:
    assert released(launch_detection(derivations=[wrong])) == [field]


def test_a_derivation_can_name_every_field_that_a_rule_can_release_but_its_own() -> None:
    assert {path for path in LEAVES if not path.startswith("derivations.")} == PATHS
    assert released(launch_detection(derivations=[derivation(*sorted(PATHS))])) == []


@pytest.mark.parametrize("path", ["clock_uncertainty", "launch_detection.launch_time_uncertainty"])
def test_the_uncertainty_of_a_time_is_two_hours_at_most_where_it_was_coarsened_and_else_one(path: str) -> None:
    for length, named, expected in (
        (HOUR, False, []),
        (HOUR + 1, False, [path]),
        (HOUR + 1, True, []),
        (2 * HOUR, True, []),
        (2 * HOUR + 1, True, [path]),
    ):
        report = change(launch_detection(), **time(path.replace(".", "__"), length))
        report.derivations.append(derivation(path if named else "report_time"))
        assert released(report) == expected, length


def test_a_derivation_does_not_let_times_contradict_each_other_further() -> None:
    late = time("launch_detection__launch_time", MADE + HOUR + SECOND)
    report = launch_detection(derivations=[derivation("launch_detection.launch_time")], **late)
    assert released(report) == ["launch_detection.launch_time"]
