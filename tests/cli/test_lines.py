"""Lines of files and pipes."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest

from gateway.cli.lines import MAX_LINE, LineError, lines
from tests.patience import PATIENCE_S

TEXT = b"one\n\ntwo\nthree without an end"
READ = [(1, b"one\n"), (2, b"\n"), (3, b"two\n"), (4, b"three without an end")]


async def test_a_file_a_buffer_and_a_pipe_give_the_same_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(TEXT)
    with path.open("rb") as file:
        assert [line async for line in lines(file)] == READ
    assert [line async for line in lines(io.BytesIO(TEXT))] == READ
    end, write = os.pipe()
    os.write(write, TEXT)
    os.close(write)
    with os.fdopen(end, "rb") as pipe:
        assert [line async for line in lines(pipe)] == READ


async def test_a_line_of_a_pipe_is_there_while_the_next_one_is_not_written_yet() -> None:
    end, write = os.pipe()
    with os.fdopen(end, "rb") as pipe, os.fdopen(write, "wb", buffering=0) as writer:
        reading = lines(pipe)
        async with asyncio.timeout(PATIENCE_S):
            for number in (1, 2, 3):
                writer.write(b"line\n")
                assert await anext(reading) == (number, b"line\n")
        await reading.aclose()  # type: ignore[attr-defined]  # it is an async generator


async def test_a_line_that_no_report_can_be_is_refused_with_its_number(tmp_path: Path) -> None:
    text = b"short\n" + b"x" * (MAX_LINE + 1) + b"\n"
    with pytest.raises(LineError, match="line 2 is longer"):
        _ = [line async for line in lines(io.BytesIO(text))]
    end, write = os.pipe()
    writing = asyncio.create_task(asyncio.to_thread(_write, write, text))
    with os.fdopen(end, "rb") as pipe, pytest.raises(LineError, match="line 2 is longer"):
        _ = [line async for line in lines(pipe)]
    await writing


def _write(descriptor: int, text: bytes) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as writer:
        try:
            for at in range(0, len(text), 65536):
                writer.write(text[at : at + 65536])
        except BrokenPipeError:
            # The reader has gone away at the long line, as it should.
            return
