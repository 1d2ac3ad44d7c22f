"""A report that may go onward is sealed in groups of fields that join to the whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.release.groups import ONWARD, PATHS, as_sealed, cut, leaf_paths, merged, parts_of, pieces_shown, same, seal
from gateway.seal.commitment import MAX_PARTS
from gateway.seal.entry import MAX_PAYLOAD_SIZE
from gateway.seal.epoch import content_of
from policy.fields import LEAVES
from policy.transform import keep_only
from tests.release.world import Site
from tests.reports.examples import (
    all_clear,
    cancellation,
    correction,
    impact_prediction,
    launch_detection,
    report_id,
    track,
)

Make = Callable[..., report_pb2.Report]
MAKERS: Final = (launch_detection, track, impact_prediction, correction, cancellation, all_clear)
GROUPS: Final = [path for paths in PATHS.values() for path in paths]


def payload_of(parts: list[ledger_pb2.Part]) -> ledger_pb2.SealedPayload:
    return ledger_pb2.SealedPayload(
        parts=[ledger_pb2.Part(group=part.group, content=part.content, salt=os.urandom(32)) for part in parts]
    )


def test_every_leaf_of_the_contract_is_in_exactly_one_group() -> None:
    assert sorted(GROUPS) == sorted(LEAVES)


def test_what_stands_inside_one_repeated_message_is_in_one_group() -> None:
    for message in ("references", "derivations", "impact_prediction.warning_area.corners"):
        assert len({group for group, paths in PATHS.items() for path in paths if path.startswith(message + ".")}) == 1


def test_the_groups_leave_room_for_every_permission() -> None:
    report = track(1)
    report.derivations.add(node="USA", fields=["event_id"])
    for number in range(64):
        report.marking.onward_release.append("".join(chr(65 + number // 26**place % 26) for place in (2, 1, 0)))
    parts = parts_of(report)
    assert len([part for part in parts if part.group == ONWARD]) <= len(parts) <= MAX_PARTS
    assert same(merged(pieces_shown(payload_of(parts))), report)


@given(st.sampled_from(MAKERS), st.sets(st.sampled_from(LEAVES)), st.lists(st.sampled_from(["KOR", "AUS", "CAN"])))
def test_the_parts_join_and_merge_to_the_whole(make: Make, kept: set[str], onward: list[str]) -> None:
    report = make(1)
    report.marking.onward_release[:] = onward
    report.derivations.add(node="USA", fields=["event_id", "report_time"])
    keep_only(report, tuple(sorted(kept)))
    parts = parts_of(report)
    whole = ledger_pb2.EntryContent.FromString(content_of(ledger_pb2.SealedPayload(parts=parts)))
    assert same(whole.report, report)
    if leaf_paths(report):
        pieces = pieces_shown(payload_of(parts))
        assert same(merged(pieces), report)
        for piece in pieces:
            assert leaf_paths(piece.report) <= set(PATHS[piece.group])
            assert piece.group == ONWARD or same(piece.report, cut(report, piece.group))


def test_a_permission_stands_in_a_part_of_its_own() -> None:
    report = track(1, marking__onward_release=["KOR", "AUS"])
    pieces = [piece for piece in pieces_shown(payload_of(parts_of(report))) if piece.group == ONWARD]
    assert [list(piece.report.marking.onward_release) for piece in pieces] == [["KOR"], ["AUS"]]


@pytest.mark.parametrize("odd", ["an empty message", "a large one"])
def test_a_report_that_does_not_fit_its_parts_is_sealed_whole(odd: str) -> None:
    report = cancellation(1)
    if odd == "an empty message":
        report.threat.Clear()
        report.threat.SetInParent()
    else:
        ids = (MAX_PAYLOAD_SIZE - 300) // 38
        report.cancellation.report_ids[:] = [report_id(number) for number in range(ids)]
    (part,) = parts_of(report)
    assert same(ledger_pb2.EntryContent.FromString(part.content).report, report)


def test_only_a_report_that_may_go_onward_is_sealed_in_parts(jpn: Site) -> None:
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    reports = [track(1, marking__onward_release=[]), track(2, marking__onward_release=["USA"])]
    places = [seal(writer, as_sealed(ledger_pb2.EntryContent(report=report))) for report in reports]
    origin = writer.head.origin
    jpn.keep(plan)
    entries = [jpn.store.entry(jpn.row(origin).id, index) or b"" for index in range(3)]
    payloads = [jpn.opener.payload(origin, place, entries[place], entries.__getitem__) for place in places]
    assert [len(payload.parts) > 1 for payload in payloads if payload is not None] == [False, True]
    assert [content.report for content in jpn.contents(origin).values()] == reports
