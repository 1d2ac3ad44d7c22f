"""Where commands print their tables and progress."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console

PIPE_WIDTH: Final = 140
"""Columns where the output is no terminal: wide enough for every table of this command, so that none is cut."""


def console() -> Console:
    """Standard output: as wide as the terminal, or `PIPE_WIDTH` where it is none."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
