"""A filter that makes no sense is refused with where and why, and one that does means what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from signalfire.v1 import officer_pb2

from gateway.audit.decision_filter import MAX_TEXT, MAX_VALUES, DecisionFilter, FilterError

REPORT = "0190b7a5-3f1c-7c3e-9a51-000000000001"


def asked(**fields: object) -> officer_pb2.DecisionFilter:
    return officer_pb2.DecisionFilter(**fields)  # type: ignore[arg-type]  # each case names its own


def test_what_is_not_set_does_not_narrow() -> None:
    assert DecisionFilter.of(asked()) == DecisionFilter()


def test_everything_that_is_set_is_read() -> None:
    wanted = asked(
        partners=["KOR", "USA"], outcomes=[1, 2], rules=["all", "(no rule releases it)"], kinds=["Track"],
        traffic_classes=[1], precedences=[4], agreements=["treaty"], event_id="event", report_id=REPORT,
        originator_node="JPN",
    )  # fmt: skip
    wanted.since.FromNanoseconds(5)
    wanted.until.FromNanoseconds(6)
    assert DecisionFilter.of(wanted) == DecisionFilter(
        5, 6, frozenset({"KOR", "USA"}), frozenset({1, 2}), frozenset({"all", "(no rule releases it)"}),
        frozenset({"Track"}), frozenset({1}), frozenset({4}), frozenset({"treaty"}), "event", REPORT, "JPN",
    )  # fmt: skip


def test_kinds_of_events_ask_for_events() -> None:
    assert DecisionFilter.of(asked(event_kinds=["started"])) == DecisionFilter(
        events=True, event_kinds=frozenset({"started"})
    )


def times(since: tuple[int, int], until: tuple[int, int] | None = None) -> officer_pb2.DecisionFilter:
    wanted = asked()
    wanted.since.seconds, wanted.since.nanos = since
    if until is not None:
        wanted.until.seconds, wanted.until.nanos = until
    return wanted


@pytest.mark.parametrize(
    ("hostile", "where"),
    [
        (lambda: asked(partners=["JPN'; DROP TABLE decision; --"]), "partners"),
        (lambda: asked(partners=["jpn"]), "partners"),
        (lambda: asked(partners=[""]), "partners"),
        (lambda: asked(partners=["KOR"] * (MAX_VALUES + 1)), "partners"),
        (lambda: asked(rules=["r" * (MAX_TEXT + 1)]), "rules"),
        (lambda: asked(rules=["a\x1b[2Jb"]), "rules"),
        (lambda: asked(rules=["a\nb"]), "rules"),
        (lambda: asked(rules=[""]), "rules"),
        (lambda: asked(agreements=["\u202etreaty"]), "agreements"),
        (lambda: asked(kinds=["%"]), "kinds"),
        (lambda: asked(outcomes=[0]), "outcomes"),
        (lambda: asked(outcomes=[99]), "outcomes"),
        (lambda: asked(traffic_classes=[-1]), "traffic_classes"),
        (lambda: asked(precedences=[5]), "precedences"),
        (lambda: asked(event_id="e" * (MAX_TEXT + 1)), "event_id"),
        (lambda: asked(event_id="\0"), "event_id"),
        (lambda: asked(report_id="*"), "report_id"),
        (lambda: asked(report_id=REPORT.upper()), "report_id"),
        (lambda: asked(report_id="{" + REPORT + "}"), "report_id"),
        (lambda: asked(originator_node="JP"), "originator_node"),
        (lambda: asked(event_kinds=["x" * (MAX_TEXT + 1)]), "event_kinds"),
        (lambda: times((1 << 62, 0)), "since"),
        (lambda: times((-1, 0)), "since"),
        (lambda: times((0, -1)), "since"),
        (lambda: times((0, 1_000_000_000)), "since"),
        (lambda: times((5, 0), (5, 0)), "since"),
        (lambda: times((5, 0), (4, 999_999_999)), "since"),
    ],
)
def test_a_hostile_filter_is_refused(hostile: Callable[[], officer_pb2.DecisionFilter], where: str) -> None:
    with pytest.raises(FilterError) as refused:
        DecisionFilter.of(hostile())
    assert refused.value.where == where
    assert refused.value.mend
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()
