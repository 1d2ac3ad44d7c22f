"""A report on which the gateway itself fails comes again a few times, later each time, and not for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from signalfire.v1 import c2_pb2

from gateway.c2.broken import GROWTH, KEPT, TRIES, Broken
from gateway.release.pipeline import TakeReport
from tests.node.connecting import request_of, submit_bytes
from tests.node.nations import report, running, settle


def test_each_failure_asks_for_a_longer_pause_and_the_last_for_none() -> None:
    broken = Broken()
    assert [broken.failed("radar", b"digest") for _ in range(TRIES)] == [GROWTH**n for n in range(TRIES - 1)] + [None]
    assert broken.failed("ship", b"digest") == 1
    assert broken.failed("radar", b"another") == 1


def test_what_is_remembered_is_bounded() -> None:
    broken = Broken()
    for number in range(KEPT + 1):
        broken.failed("radar", number.to_bytes(4))
    assert len(broken._failures) == KEPT
    # The oldest is forgotten, the newest is not.
    assert broken.failed("radar", (0).to_bytes(4)) == 1
    assert broken.failed("radar", KEPT.to_bytes(4)) == GROWTH


async def test_a_report_that_breaks_its_step_is_refused_for_good_in_the_end_and_others_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks, good = report(), report()
    real = TakeReport.apply

    def apply(step: TakeReport, plan: Any) -> Any:
        if step.report.report_id == breaks.report_id:
            raise ZeroDivisionError("nobody thought of this")
        return real(step, plan)

    monkeypatch.setattr(TakeReport, "apply", apply)
    async with running(settle(tmp_path, "JPN")) as world:
        answers = await submit_bytes(world.places["JPN"], *[request_of(breaks)] * TRIES, request_of(good))
        *broken, taken = answers
        assert taken.accepted.HasField("accepted_time")
        codes = sorted(answer.refused.code for answer in broken)
        assert codes == [c2_pb2.REFUSAL_CODE_INVALID] + [c2_pb2.REFUSAL_CODE_UNAVAILABLE] * (TRIES - 1)
        pauses = [answer.refused.retry_after_ms for answer in broken if answer.refused.retry_after_ms]
        assert sorted(pauses) == [500 * GROWTH**n for n in range(TRIES - 1)]
        (final,) = (answer for answer in broken if answer.refused.code == c2_pb2.REFUSAL_CODE_INVALID)
        assert "do not send it again" in final.refused.violations[0].remedy
        assert world.metric("JPN", "signalfire_broken_reports_total") == TRIES
        assert world.nodes["JPN"].status().accepting
