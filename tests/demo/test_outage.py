"""Outages are values, held against the replay that they are staged in."""

from __future__ import annotations

import pytest

from gateway.demo.errors import DemoError
from gateway.demo.outage import Outage, by_node

NODES = ("JPN", "KOR", "USA")


def test_outages_are_grouped_by_node_and_put_in_order() -> None:
    first, second, other = Outage(0.1, 0.2, "KOR"), Outage(0.2, 1.0, "KOR"), Outage(0.0, 0.5, "USA")
    assert by_node([second, other, first], NODES) == {"JPN": [], "KOR": [first, second], "USA": [other]}


@pytest.mark.parametrize(
    ("outages", "words"),
    [
        ([Outage(0.1, 0.2, "FRA")], "no gateway of FRA"),
        ([Outage(0.2, 0.2, "KOR")], "from 0.2 to 0.2"),
        ([Outage(0.3, 0.2, "KOR")], "from 0.3 to 0.2"),
        ([Outage(-0.1, 0.2, "KOR")], "from -0.1"),
        ([Outage(0.1, 1.1, "KOR")], "to 1.1"),
        ([Outage(float("nan"), 0.2, "KOR")], "from nan"),
        ([Outage(0.4, 0.6, "KOR"), Outage(0.1, 0.5, "KOR")], "Two outages of KOR overlap"),
    ],
)
def test_an_outage_that_cannot_be_staged_is_refused(outages: list[Outage], words: str) -> None:
    with pytest.raises(DemoError, match=words):
        by_node(outages, NODES)
