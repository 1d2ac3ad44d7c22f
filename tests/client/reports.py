"""Reports that a running gateway takes now: the examples of `tests.reports`, moved to the present."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from tests.reports.examples import NOW, launch_detection


def fresh(seed: int, **changes: Any) -> report_pb2.Report:
    """A launch detection by Japan, made just now, EXERCISE, that the example policies release to both partners."""
    report = launch_detection(
        seed,
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        marking__caveats=None,
        references=None,
        **changes,
    )
    _move(report, time.time_ns() - NOW)
    return report


def _move(message: Message, by_ns: int) -> None:
    for descriptor, value in message.ListFields():
        if isinstance(value, Timestamp):
            value.FromNanoseconds(value.ToNanoseconds() + by_ns)
        elif descriptor.message_type is not None and not descriptor.is_repeated:
            _move(value, by_ns)
