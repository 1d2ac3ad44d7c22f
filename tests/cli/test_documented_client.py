"""The client that docs/c2.md shows, run as it is printed against a running gateway."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from gateway.demo.deployment import PUSHER, READER
from tests.cli.conftest import World
from tests.patience import PATIENCE_S

PAGE = Path(__file__).resolve().parents[2] / "docs" / "c2.md"


def test_the_client_that_is_shown_pushes_by_open_calls_and_shows_what_stands(world: World) -> None:
    (shown,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert f'connect("{PUSHER}")' in shown
    assert f'connect("{READER}")' in shown
    japan = world.places["JPN"]
    command = [sys.executable, "-c", shown, str(japan.directory / "c2"), japan.national]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    accepted = re.findall(r"^(\S+) accepted$", done.stdout, re.MULTILINE)
    assert len(accepted) == 4
    assert set(re.findall(r"^JPN (\S+) stands$", done.stdout, re.MULTILINE)) == set(accepted)
