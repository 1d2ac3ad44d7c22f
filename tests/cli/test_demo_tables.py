"""The tables of the demo, on a terminal and in a pipe."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from gateway.cli.demo_tables import knowledge, summary
from gateway.cli.terminal import PIPE_WIDTH
from gateway.demo.tally import Tally

NODES = ("JPN", "KOR", "USA")


def busy() -> Tally:
    """As wide as a replay makes it: long rules, long latencies, thousands of reports."""
    tally = Tally()
    for node in NODES:
        tally.pushed[node] = 12345
        for other in NODES:
            tally.known[(node, other)] = Counter(
                launch_detection=1234, track=12345, impact_prediction=1234, all_clear=9
            )
            tally.withdrawals[(node, other, "r1")] = 1
            tally.latencies[(node, other)] = [0.012, 12.345]
            for rule in ("launches-from-elsewhere-stay-at-home", "(refers to nothing the partner has)"):
                tally.withheld[(node, other, rule)] = 1234
    return tally


@pytest.mark.parametrize("width", [120, PIPE_WIDTH])
def test_nothing_is_cut(width: int) -> None:
    for table in (knowledge(busy(), dict.fromkeys(NODES, False)), summary(busy(), NODES)):
        out = io.StringIO()
        Console(file=out, width=width).print(table)
        assert "\N{HORIZONTAL ELLIPSIS}" not in out.getvalue()
        assert max(map(len, out.getvalue().splitlines())) <= width


def test_a_gateway_that_is_away_is_shown_as_down() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(knowledge(busy(), {"JPN": True, "KOR": True, "USA": False}))
    assert "USA DOWN" in out.getvalue()
    assert "KOR DOWN" not in out.getvalue()
