"""How a stream that a partner opened is ended by this node."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import grpc

MAX_SHOWN: Final = 512
"""Characters of a reason that are logged or sent: gRPC carries it in a header, of which it takes a few kilobytes."""


class StreamEnded(Exception):
    """A stream is ended with a gRPC status and a sentence that says why; `callers_doing`: for what its caller did;
    `lasting`: it will be so again until people see to it, and the log need not say so each time.
    """

    def __init__(
        self, code: grpc.StatusCode, detail: str, *, callers_doing: bool = True, lasting: bool = False
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.callers_doing = callers_doing
        self.lasting = lasting


REPEATED_S: Final = 600.0
"""Seconds within which the log does not say again for what streams of one address were ended."""

_KEPT: Final = 256
"""Of how many of them it is remembered when they were said."""


class Repetitions:
    """What was said lately. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_new(self, address: str, words: str, now: float) -> bool:
        """Whether that was not said of that address within REPEATED_S, or was forgotten; from now on it was."""
        said = self._said.get((address, words))
        if said is not None and now < said + REPEATED_S:
            return False
        self._said[address, words] = now
        self._said.move_to_end((address, words))
        if len(self._said) > _KEPT:
            self._said.popitem(last=False)
        return True


def shown(text: str) -> str:
    """Text that may quote what a partner sent, as a log or a status may hold it: short, in one line, and printable."""
    printable = "".join(character if character.isprintable() else " " for character in text[:MAX_SHOWN])
    return printable if len(text) <= MAX_SHOWN else f"{printable}..."
