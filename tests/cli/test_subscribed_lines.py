"""What a line of `signalfire subscribe` holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from signalfire.v1 import report_pb2

from gateway.cli.subscribe import as_json
from gateway.client import Received, Withdrawn
from tests.reports.examples import launch_detection

DOCS = Path(__file__).resolve().parents[2] / "docs"
TIME = datetime(2026, 11, 21, 21, 16, 17, 53429, UTC)
WHOLE = datetime(2026, 11, 21, 21, 16, 17, tzinfo=UTC)
RECEIVED = Received("7:1", launch_detection(), "JPN", "signalfire/v1/JPN/KOR/flash/1", 198, TIME, False, True)
WITHDRAWN = Withdrawn(
    "7:2",
    launch_detection().report_id,
    "JPN",
    WHOLE,
    report_pb2.TRAFFIC_CLASS_EXERCISE,
    report_pb2.PRECEDENCE_FLASH,
    TIME,
)


def test_a_report_is_printed_with_where_it_came_from() -> None:
    line = as_json(RECEIVED)
    assert line.pop("report")["report_id"] == RECEIVED.report.report_id
    assert line == {
        "cursor": "7:1",
        "received_from": "JPN",
        "ledger": "signalfire/v1/JPN/KOR/flash/1",
        "index": 198,
        "received_time": "2026-11-21T21:16:17.053429Z",
        "pq_pending": False,
        "is_withdrawn": True,
    }


def test_a_withdrawal_is_printed_with_the_report_that_it_is_about() -> None:
    assert as_json(WITHDRAWN) == {
        "cursor": "7:2",
        "withdrawn": {
            "report_id": WITHDRAWN.report_id,
            "originator_node": "JPN",
            "time": "2026-11-21T21:16:17Z",
            "traffic_class": "TRAFFIC_CLASS_EXERCISE",
            "precedence": "PRECEDENCE_FLASH",
        },
        "received_time": "2026-11-21T21:16:17.053429Z",
    }


def test_every_key_of_a_line_is_explained() -> None:
    shown = (DOCS / "cli.md").read_text("utf-8").split("\n## `signalfire subscribe`\n")[1].split("\n## ")[0]
    withdrawal = as_json(WITHDRAWN)
    assert {*as_json(RECEIVED), *withdrawal, *withdrawal["withdrawn"]} <= set(re.findall(r"`(\w+)`", shown))
