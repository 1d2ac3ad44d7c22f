"""Confidentiality markings: how levels are ordered, to whom a marking lets go, and how it reads.

Rules (STANAG 4774; `Marking` in the contract):

1. A higher `Classification` is more sensitive. A level that is not set or not defined lies within no ceiling.
2. A report may be released to exactly the nodes that `releasable_to` names; empty means national eyes only.
3. A recipient may pass it on to exactly the nodes that `onward_release` names; empty means to nobody.
4. A marking without a defined level lets nothing go, whatever else it says.
"""

from __future__ import annotations

from typing import Final

from signalfire.v1 import report_pb2

_PREFIX: Final = "CLASSIFICATION_"

LEVEL_NAMES: Final = {
    level: name.removeprefix(_PREFIX).replace("_", " ")
    for name, level in report_pb2.Classification.items()
    if level != report_pb2.CLASSIFICATION_UNSPECIFIED
}
"""What each defined level is called, from the least sensitive up: "UNCLASSIFIED" to "TOP SECRET"."""


def level_name(classification: report_pb2.Classification.ValueType) -> str:
    """What the level is called, "TOP SECRET"; "NO VALID CLASSIFICATION" where it is not set or not defined."""
    return LEVEL_NAMES.get(classification, "NO VALID CLASSIFICATION")


def within(classification: report_pb2.Classification.ValueType, ceiling: report_pb2.Classification.ValueType) -> bool:
    """Whether the level is at most as sensitive as `ceiling`; False where either is not defined (rule 1)."""
    return classification in LEVEL_NAMES and ceiling in LEVEL_NAMES and classification <= ceiling


def releasable(marking: report_pb2.Marking, node: str) -> bool:
    """Whether the marking allows a release to `node` (rules 2 and 4). Policy may still withhold it."""
    return marking.classification in LEVEL_NAMES and node in marking.releasable_to


def onward_releasable(marking: report_pb2.Marking, node: str) -> bool:
    """Whether a recipient may pass the report on to `node` (rules 3 and 4)."""
    return marking.classification in LEVEL_NAMES and node in marking.onward_release


def marking_text(marking: report_pb2.Marking) -> str:
    """The marking as a person reads it: "JPN SECRET REL TO KOR, USA (EYES-ONLY) ONWARD TO AUS".

    Nodes and caveats stand in alphabetical order, so that equal markings read the same.
    """
    parts = [marking.policy, level_name(marking.classification)]
    if marking.releasable_to:
        parts.append("REL TO " + ", ".join(sorted(marking.releasable_to)))
    else:
        parts.append("NATIONAL EYES ONLY")
    if marking.caveats:
        parts.append("(" + "; ".join(sorted(marking.caveats)) + ")")
    if marking.onward_release:
        parts.append("ONWARD TO " + ", ".join(sorted(marking.onward_release)))
    return " ".join(part for part in parts if part)
