"""The lines of a file as they come: a pipe that is quiet for a while holds up nothing else."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from typing import IO, Final

MAX_LINE: Final = 1 << 20
"""Bytes of the longest line: some ten times the largest report in JSON."""


class LineError(Exception):
    """A line is longer than `MAX_LINE`; the text says which one."""


async def lines(file: IO[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Each line with its number, from 1. Raises LineError."""
    if not _may_be_quiet(file):
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise _too_long(number)
            yield number, line
        return
    reader = asyncio.StreamReader(limit=MAX_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), file
    )
    try:
        number = 0
        while True:
            number += 1
            try:
                line = await reader.readline()
            except ValueError as error:
                raise _too_long(number) from error
            if not line:
                return
            yield number, line
    finally:
        transport.close()


def _may_be_quiet(file: IO[bytes]) -> bool:
    """Whether reading may have to wait for somebody: a pipe or a socket, not a file on disk."""
    try:
        mode = os.fstat(file.fileno()).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _too_long(number: int) -> LineError:
    return LineError(f"line {number} is longer than {MAX_LINE} bytes, which no report is; put one report on each line")
