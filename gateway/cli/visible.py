"""Text from data as a terminal, a log or a spreadsheet may show it: nothing in it acts on what shows it."""

from __future__ import annotations

import unicodedata
from typing import Final

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what a reader cannot see, or what turns the order of what he sees: controls (among them the
escape that begins a terminal's commands), formats (among them the marks of UAX #9), surrogates, private use, line and
paragraph separators.
"""


def visible(text: str) -> str:
    """`text` on one line, each unseen character as its escape, such as ``\\x1b`` or ``\\u202e``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(each) if unicodedata.category(each) in _UNSEEN else each for each in text)


def _escaped(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
