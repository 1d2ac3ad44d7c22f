"""What an officer who knows other languages writes into a condition, and how CEL writes it. Works on the text of a
condition that did not compile; no I/O.

1. *Operators of other languages* (``and``, ``or``, ``not``, ``not in``, ``=``, ``&``, ``|``), outside literals.
2. *Constants by their last part*: ``POSSIBLE`` for ``Certainty.CERTAINTY_POSSIBLE``.
3. *An enum beside a text*: ``report.precedence == "FLASH"`` for ``report.precedence == Precedence.PRECEDENCE_FLASH``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor
from signalfire.v1 import report_pb2

from policy.countries import ASSIGNED, UNKNOWN
from policy.errors import Fault
from policy.vocabulary import Posture

_LITERAL_OR_OPERATOR: Final = re.compile(
    r"""[rRbB]{0,2}(?:"{3}(?:\\.|[^\\])*?"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?<![\w.])(?P<word>not\s+in|and|or|not)(?!\w)|(?P<sign>(?<![=!<>])=(?!=)|(?<!&)&(?!&)|(?<!\|)\|(?!\|))""",
    re.DOTALL | re.IGNORECASE,
)
_INSTEAD: Final = {
    "and": '"&&"',
    "or": '"||"',
    "not": '"!"',
    "not in": '"!(... in ...)"',
    "=": '"=="',
    "&": '"&&"',
    "|": '"||"',
}
_UNSET: Final = "_UNSPECIFIED"
_ENUMS: Final[tuple[EnumDescriptor, ...]] = tuple(report_pb2.DESCRIPTOR.enum_types_by_name.values())
_MOST: Final = 4
"""Constants that are named in one remedy."""


def foreign_operators(text: str) -> Iterator[Fault]:
    """Every operator in a condition that CEL does not have."""
    for match in _LITERAL_OR_OPERATOR.finditer(text):
        written = match["word"] or match["sign"]
        if written is not None:
            start = match.start()
            column = start - text.rfind("\n", 0, start)
            remedy = f"Write {_INSTEAD[' '.join(written.lower().split())]}."
            yield Fault(f'"{written}" is no operator here.', remedy, text.count("\n", 0, start) + 1, column)


def meant_by(name: str) -> str | None:
    """The remedy for a bare word that is the last part of some constants, or a text without its quotes; None where it
    is neither."""
    found = [f'"{constant}"' for enum in _ENUMS for constant in _constants(enum, name)]
    if name in ASSIGNED or name == UNKNOWN or name in list(Posture):
        found.append(f'the text "{name}" with its quotes')
    return f"Write {' or '.join(found[:_MOST])}." if found else None


def enum_beside_text(row: str, column: int) -> tuple[str, str] | None:
    """What is wrong, and the remedy, where the comparison at ``column`` (from 1) of a line has a field that is an enum
    on one side and a text on the other; None where it is anything else."""
    left, right = row[: column - 1], row[column - 1 :]
    after = re.match(r"""(?:[=!]=|[<>]=?|in\b)\s*(?:\[\s*)?(["'])(\w*)\1""", right)
    if after is not None:
        path = re.search(r"([\w.]+)\s*$", left)
        word = after[2]
    else:
        before = re.search(r"""(["'])(\w*)\1\s*$""", left)
        path = re.match(r"(?:[=!]=|[<>]=?)\s*([\w.]+)", right)
        if before is None:
            return None
        word = before[2]
    enum = None if path is None else _enum_at(path[1])
    if enum is None:
        return None
    constants = _constants(enum, word) or [f"{enum.name}.{value.name}" for value in enum.values][1 : _MOST + 1]
    return f'{enum.name} is compared with the text "{word}".', f"Write {' or '.join(constants)}, without quotes."


def _enum_at(path: str) -> EnumDescriptor | None:
    """The enum that a path from ``report`` leads to."""
    first, *steps = path.split(".")
    message: Descriptor | None = report_pb2.Report.DESCRIPTOR if first == "report" else None
    enum: EnumDescriptor | None = None
    for step in steps:
        found = None if message is None else message.fields_by_name.get(step)
        if found is None:
            return None
        message, enum = found.message_type, found.enum_type
    return enum


def _constants(enum: EnumDescriptor, word: str) -> list[str]:
    """The constants of an enum whose name ends in the word, or else the nearest one to it."""
    names = [value.name for value in enum.values if not value.name.endswith(_UNSET)]
    ending = [name for name in names if word and f"_{name}".endswith(f"_{word.upper()}")]
    near = ending or difflib.get_close_matches(word.upper(), names, n=1, cutoff=0.85)
    return [f"{enum.name}.{name}" for name in near]
