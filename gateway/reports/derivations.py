"""What nodes changed in a released report, as they name it.

Rules of the contract, in order:

1. At the C2 door there is none: what a C2 system sends is the originator's own.
2. At the partner's door there are at most 8, each with the code of its node and one field path at least.
3. A path names a field of the contract that holds a value, and not one of a derivation; each at most once in one
   derivation.
4. Only a time uncertainty that a derivation names may be up to 2 h, which `gateway.reports.fields` judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor
from signalfire.v1 import report_pb2

from gateway.reports.fields import Examination, Need, quoted

MOST_DERIVATIONS: Final = 8
_FIELD: Final = "derivations"
_VALUES: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})
_PATH_REMEDY: Final = "name fields of the contract that hold values, dots between names, without indices"


def _paths(message: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in message.fields:
        if prefix + field.name == _FIELD:
            continue
        inside = field.message_type
        if inside is None or inside.full_name in _VALUES:
            yield prefix + field.name
        else:
            yield from _paths(inside, f"{prefix}{field.name}.")


PATHS: Final = frozenset(_paths(report_pb2.Report.DESCRIPTOR))
"""Every path that a derivation can name."""


def check_derivations(examination: Examination, report: report_pb2.Report) -> None:
    """Rules 1 to 3."""
    derivations = report.derivations
    if not derivations:
        return
    if examination.complete:
        problem = f"has {len(derivations)} entries, and only a release has any"
        examination.wrong("", _FIELD, problem, "leave it out: it tells what a gateway changed in a copy")
        return
    if not examination.count(len(derivations), "", _FIELD, MOST_DERIVATIONS):
        return
    for index, derivation in enumerate(derivations):
        where = f"{_FIELD}[{index}]"
        examination.country(derivation.node, where, "node", Need.ALWAYS_RELEASED)
        if not derivation.fields:
            examination.absent(where, "fields", _PATH_REMEDY, Need.ALWAYS_RELEASED)
        elif examination.count(len(derivation.fields), where, "fields", len(PATHS)):
            _check_paths(examination, derivation, where)


def _check_paths(examination: Examination, derivation: report_pb2.Derivation, where: str) -> None:
    seen: set[str] = set()
    for index, path in enumerate(derivation.fields):
        if path not in PATHS:
            problem = f"is {quoted(path)}, which is no field of a report that holds a value"
            examination.wrong(where, f"fields[{index}]", problem, _PATH_REMEDY)
        elif path in seen:
            examination.repeated(where, f"fields[{index}]", path)
        seen.add(path)
