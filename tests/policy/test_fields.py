"""Field paths and the field sets that ship with the language."""

from __future__ import annotations

import hashlib
import json

import pytest
from signalfire.v1 import report_pb2

from policy.fields import ALWAYS_RELEASED, BUILT_IN, LEAVES, fields_of_kind
from policy.rules import CompiledRule
from policy.vocabulary import CONTENT, Classification, Kind, TrafficClass
from tests.policy.bundles import POLICY, RULE, compiled, problem_of, problem_of_rule, problems_of


def only_rule(**changed: str) -> CompiledRule:
    return compiled(RULE | changed).partners["KOR"].rules[0]


def test_a_path_that_does_not_exist_is_refused_with_the_nearest_one() -> None:
    problem = problem_of_rule(fields="[warning, launch_detection.lauch_time]")
    assert problem.what == 'A report has no field "launch_detection.lauch_time".'
    assert problem.remedy == 'Did you mean "launch_detection.launch_time"?'
    assert problem.line == 9


def test_a_message_is_refused_and_its_leaves_are_told() -> None:
    problem = problem_of_rule(fields="[track.position]")
    assert problem.what == '"track.position" is a message, not a value.'
    assert "track.position.latitude_deg, track.position.longitude_deg, track.position.height_m" in problem.remedy


@pytest.mark.parametrize(
    "path", ["track", "report", "", "track.", ".track", "track.position.latitude_deg.x", "content"]
)
def test_what_is_no_leaf_is_refused(path: str) -> None:
    assert problem_of_rule(fields=f'["{path}"]').line == 9


def test_a_field_set_that_does_not_exist_is_refused() -> None:
    assert problem_of_rule(fields="[warnin]").remedy == 'Did you mean "warning"?'
    assert problem_of_rule(fields="[track@2]").what == 'There is no built-in field set "track@2".'


def test_a_field_set_is_not_named_like_a_field() -> None:
    found = problems_of({"policy.yaml": POLICY.replace("warning:", "precedence:")})
    assert 'The field set "precedence" is named like a field.' in [problem.what for problem in found]


def test_a_field_set_of_the_bundle_names_leaves_and_built_in_sets_alone() -> None:
    policy = POLICY + "  more: [warning]\n"
    found = problems_of({"policy.yaml": policy})
    assert [(problem.line, problem.what) for problem in found] == [(13, 'A report has no field "warning".')]
    assert problem_of("partner: KOR\nrules: []\n", policy).file == "policy.yaml"


def test_a_timestamp_and_a_duration_are_leaves() -> None:
    assert {"launch_detection.launch_time", "clock_uncertainty"} <= set(LEAVES)
    assert not any(leaf.endswith((".seconds", ".nanos")) for leaf in LEAVES)


def test_repeated_messages_are_named_by_the_leaves_of_their_elements() -> None:
    assert {"references.report_id", "impact_prediction.warning_area.corners.latitude_deg"} <= set(LEAVES)


def test_every_leaf_of_the_schema_is_always_released_or_in_one_built_in_set_but_for_releasable_to() -> None:
    listed = [path for paths in BUILT_IN.values() for path in paths] + list(ALWAYS_RELEASED)
    assert len(listed) == len(set(listed))
    assert set(LEAVES) - set(listed) == {"marking.releasable_to"}
    assert set(listed) <= set(LEAVES)


def test_what_a_version_of_a_built_in_set_holds_never_changes() -> None:
    pinned = {
        name: hashlib.sha256(json.dumps(sorted(paths)).encode()).hexdigest()[:16] for name, paths in BUILT_IN.items()
    }
    assert pinned == PINNED


PINNED = {
    "envelope@1": "1b494a2df5b4687e",
    "source@1": "53d987029c0cc6c7",
    "threat@1": "c2ae1648233a40be",
    "references@1": "cd3a00e95fed768f",
    "launch@1": "e4a87b482aaf0edd",
    "track@1": "e8157e1a6f64620e",
    "impact@1": "841e0f3ff4521412",
    "recall@1": "d233e6ab3e7b14f0",
}


def test_a_rule_gives_each_kind_the_fields_that_it_can_hold_in_the_order_of_the_schema() -> None:
    rule = only_rule(fields="[track.quality, launch_detection.certainty, event_id]")
    assert rule.fields[Kind.TRACK] == fields_of_kind(("event_id", "track.quality"), Kind.TRACK)
    assert set(rule.fields[Kind.LAUNCH_DETECTION]) == {*ALWAYS_RELEASED, "event_id", "launch_detection.certainty"}
    assert list(rule.fields[Kind.TRACK]) == [path for path in LEAVES if path in rule.fields[Kind.TRACK]]


def test_the_words_of_the_language_are_those_of_the_contract() -> None:
    contents = report_pb2.Report.DESCRIPTOR.oneofs_by_name[CONTENT].fields
    assert {kind.arm: str(kind) for kind in Kind} == {
        field.name: field.message_type.name for field in contents if field.message_type is not None
    }
    for words, enum in ((TrafficClass, report_pb2.TrafficClass), (Classification, report_pb2.Classification)):
        prefix = {TrafficClass: "TRAFFIC_CLASS_", Classification: "CLASSIFICATION_"}[words]
        assert {prefix + word.name: word.value for word in words} == dict(list(enum.items())[1:])
