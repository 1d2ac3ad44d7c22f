"""`signalfire demo`, as somebody runs it: what it prints, its exit codes, and that it leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.demo.world import ROOT
from tests.patience import PATIENCE_S

WHOLE_S: Final = 5 * PATIENCE_S
"""Seconds that a whole demo may take, and no more than that: it has bounds of its own within."""


def demo(directory: Path, *options: str) -> subprocess.Popen[str]:
    """Runs it with its temporary files in `directory`."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", *options],
        env=os.environ | {"TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(directory: Path, *options: str) -> tuple[int, str, str]:
    with demo(directory, *options) as process:
        try:
            said, complained = process.communicate(timeout=WHOLE_S)
        finally:
            process.kill()
    return process.returncode, said, complained


def gateways_of(directory: Path) -> list[str]:
    """Command lines of the processes whose configuration lies in `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                # It has ended meanwhile.
                continue
            if "serve" in line and str(directory) in line:
                found.append(line)
    return found


ACTS = (
    r"JPN: a possible launch, a drill, is withheld by rule possible-launch-only-in-tension from KOR: In quiet times",
    r"JPN: order \d, signed by alice and bob, declares the posture HEIGHTENED",
    r"JPN: the next possible launch is released by rule prk-launch-warning to KOR",
    r"JPN: such a drill is released by rule top-secret-drill-goes-sanitised to USA, which has it",
    r"JPN: another such drill is released, and waits for USA, whose gateway is away",
    r"JPN: the annex has lapsed, and the next such drill is withheld \(agreement lapsed\) from USA",
    r"JPN tells its officers: .* entry \d+ is served as hash alone: 1 because the agreement exercise-annex is not in",
    r"USA is given the drill that waited as its hash alone, with a reason signed by JPN",
    r"KOR: order 2, signed by alice, suspends JPN",
    r"KOR: a drill is withheld \(partner suspended\) from JPN",
    r"KOR tells its officers: JPN is suspended and is not told yet that a report that it was released no longer stands",
    r"KOR: an order is refused: 1 of the 2 officers have signed",
    r"KOR: order 3, signed by alice and bob, resumes JPN",
    r"JPN is told now that the drill no longer stands",
    r"to USA, which is away, and withdraws the last: the withdrawal, by the FLASH lane, is there first",
)


def test_a_short_demo_shows_what_it_should_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, said, complained = finished(tmp_path, "--duration", "5")
    assert (code, complained) == (0, ""), said + complained
    assert "Nothing was lost, doubled or leaked; every ledger and every receipt verifies." in said
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    assert "the gateway of USA is killed (kill -9); JPN and KOR go on" in said
    assert "the gateway of USA is started again" in said
    assert re.search(
        r"USA warns of a launch from PRK, possible \(US/EV/.*\): JPN has it after [\d,]+ ms, KOR has", said
    )
    assert "KOR withholds a track from JPN by rule kor-usa-only: Reports with the caveat KOR-USA ONLY go to no" in said
    assert re.search(r"JPN withdraws 14 reports \(correction: The point of impact rested on an early estimate", said)
    assert re.search(r"4 kor-usa-only", said)
    assert [act for act in ACTS if not re.search(act, said)] == []
    rows = re.findall(r"│ (\w{3})  │ (\d+) +│ (\d+) +│ (\w{3}) │ (\d+) +│ (\d+) +│ (\d+) +│", said)
    assert len(rows) == 6
    assert all(pushed == accepted for _, pushed, accepted, *_ in rows)
    assert all(int(released) == int(received) + int(hashes) for *_, released, received, hashes in rows)
    assert re.findall(r"^(\w{3}): \d+ reports, \d+ released, \d+ withheld: sound$", said, re.M) == ["JPN", "KOR", "USA"]
    assert list(tmp_path.iterdir()) == []
    assert gateways_of(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM)],
)
def test_a_demo_that_is_stopped_ends_its_gateways_and_removes_its_files(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with demo(tmp_path, "--duration", "60") as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "warns of a launch" in line:
                    break
            else:
                pytest.fail(f"the demo ended by itself: {process.communicate(timeout=PATIENCE_S)[1]}")
            assert len(gateways_of(tmp_path)) == 3
            process.send_signal(number)
            _, complained = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == code, complained
    assert "Traceback" not in complained
    assert gateways_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True, slots=True)
class Shown:
    """A demo on a terminal of 120 columns that kept what it made."""

    text: str
    code: int
    kept: Path


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    directory = tmp_path_factory.mktemp("terminal")
    options = ["--duration", "2", "--victim", "KOR", "--keep", str(directory / "kept")]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 120, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", *options],
        env=environment | {"TMPDIR": str(directory), "TERM": "xterm-256color"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        try:
            while chunk := _read(ours):
                said += chunk
            code = process.wait(PATIENCE_S)
        finally:
            process.kill()
            os.close(ours)
    return Shown(said.decode(), code, directory / "kept")


def test_on_a_terminal_of_120_columns_nothing_is_cut(shown: Shown) -> None:
    assert shown.code == 0, shown.text
    assert "100 %" in shown.text
    assert "kor-usa-only" in shown.text
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown.text
    assert "[green]" not in shown.text
    assert "Nothing was lost, doubled or leaked" in shown.text


def test_what_keep_leaves_behind_is_all_that_is_left_and_verifies(shown: Shown) -> None:
    assert list(shown.kept.parent.iterdir()) == [shown.kept]
    command = next(line.split() for line in shown.text.splitlines() if "signalfire ledger verify" in line)
    assert command[-1] == str(shown.kept / "jpn" / "gateway.yaml")
    result = subprocess.run(
        [sys.executable, "-m", "gateway", *command[1:]], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        # Linux says EIO when the last process on the other side has gone.
        return b""


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--scenario", "no-such-scenario"], 1, "There is no scenario"),
        (["--victim", "FRA"], 2, "FRA is not one of JPN, KOR, USA"),
        (["--duration", "5", "--realtime"], 2, "exclude each other"),
        (["--duration", "0"], 2, "--duration"),
        (["--keep", str(ROOT)], 2, "is there and is no empty directory"),
    ],
)
def test_what_cannot_be_played_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, words: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = CliRunner().invoke(main, ["demo", *options])
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []
