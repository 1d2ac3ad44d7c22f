"""What a report is called on record, and how many of them one query of the store asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

ASKED_AT_ONCE: Final = 512
"""Identifiers in one query."""


class Subject(NamedTuple):
    """A report, by who originated it (empty: this node) and its identifier, 16 bytes."""

    originator: str
    report_id: bytes


def runs(report_ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """As many at a time as one query takes."""
    for start in range(0, len(report_ids), ASKED_AT_ONCE):
        yield report_ids[start : start + ASKED_AT_ONCE]
