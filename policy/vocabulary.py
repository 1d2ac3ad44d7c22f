"""The officer's words for what the contract (signalfire/v1/report.proto) numbers.

A word is the contract's constant without its prefix: ``SECRET`` for ``CLASSIFICATION_SECRET``. The value 0
(``*_UNSPECIFIED``) has no word and so can never be named in a policy.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

from signalfire.v1 import report_pb2


class Kind(StrEnum):
    """What a report reports: the message type of its content."""

    LAUNCH_DETECTION = "LaunchDetection"
    TRACK = "Track"
    IMPACT_PREDICTION = "ImpactPrediction"
    CORRECTION = "Correction"
    CANCELLATION = "Cancellation"
    ALL_CLEAR = "AllClear"

    @property
    def arm(self) -> str:
        """The field of ``Report`` that holds it, e.g. ``launch_detection``."""
        return self.name.lower()


class TrafficClass(IntEnum):
    """Whether the report is about the real world (contract enum ``TrafficClass``)."""

    LIVE = report_pb2.TRAFFIC_CLASS_LIVE
    EXERCISE = report_pb2.TRAFFIC_CLASS_EXERCISE
    TEST = report_pb2.TRAFFIC_CLASS_TEST


class Classification(IntEnum):
    """Level of protection (contract enum ``Classification``); a higher number is more sensitive."""

    UNCLASSIFIED = report_pb2.CLASSIFICATION_UNCLASSIFIED
    RESTRICTED = report_pb2.CLASSIFICATION_RESTRICTED
    CONFIDENTIAL = report_pb2.CLASSIFICATION_CONFIDENTIAL
    SECRET = report_pb2.CLASSIFICATION_SECRET
    TOP_SECRET = report_pb2.CLASSIFICATION_TOP_SECRET


class Posture(StrEnum):
    """The node's declared level of readiness."""

    ROUTINE = "ROUTINE"
    HEIGHTENED = "HEIGHTENED"
    IMMINENT = "IMMINENT"


class Effect(StrEnum):
    """What a rule does with the reports that it matches."""

    RELEASE = "release"
    WITHHOLD = "withhold"


CONTENT: Final = "content"
"""The oneof of ``Report`` that holds its kind."""

KIND_OF_ARM: Final = {kind.arm: kind for kind in Kind}
"""Field of ``Report`` to kind."""
