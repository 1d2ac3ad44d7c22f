"""How a stream that a partner opened is ended by this node."""

from __future__ import annotations

from typing import Final

import grpc

MAX_SHOWN: Final = 512
"""Characters of a reason that are logged or sent: gRPC carries it in a header, of which it takes a few kilobytes."""


class StreamEnded(Exception):
    """A stream is ended with a gRPC status and a sentence that says why; `callers_doing`: for what its caller did."""

    def __init__(self, code: grpc.StatusCode, detail: str, *, callers_doing: bool = True) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.callers_doing = callers_doing


def shown(text: str) -> str:
    """Text that may quote what a partner sent, as a log or a status may hold it: short, in one line, and printable."""
    printable = "".join(character if character.isprintable() else " " for character in text[:MAX_SHOWN])
    return printable if len(text) <= MAX_SHOWN else f"{printable}..."
