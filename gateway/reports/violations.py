"""What is wrong with a report, as plain values and as the C2 contract's messages.

A problem may quote the value that it refuses, so a violation is as sensitive as the report it came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from signalfire.v1 import c2_pb2


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a report.

    `field` is the path from the report, elements counted from 0: `launch_detection.launch_point.latitude_deg`,
    `marking.releasable_to[2]`; `content` where no kind was set; empty where no field can be named.
    `problem` follows the path in a sentence ("is 91.0, which is above 90"); `remedy` says what to send instead.
    """

    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field or 'the report'} {self.problem}: {self.remedy}"

    def to_message(self) -> c2_pb2.Violation:
        """The same, as a C2 system receives it."""
        return c2_pb2.Violation(field=self.field, problem=self.problem, remedy=self.remedy)


def refusal(code: c2_pb2.RefusalCode.ValueType, violations: Iterable[Violation]) -> c2_pb2.Refused:
    """The answer that refuses a report with every violation at once."""
    return c2_pb2.Refused(code=code, violations=[violation.to_message() for violation in violations])
