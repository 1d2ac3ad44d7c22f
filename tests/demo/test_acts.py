"""Acts are declared strictly, each kind is documented, and the default scenario shows one of each."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import BaseModel

from gateway.demo.acts import Annex, KeyChange, Overtaking, PostureChange, Suspension
from gateway.demo.errors import ScenarioError
from gateway.demo.scenario import parse_scenario
from tests.demo.test_scenario_format import PLAIN
from tests.demo.world import NAMES, ROOT, scenario

KINDS: list[type[BaseModel]] = [PostureChange, Suspension, Annex, Overtaking, KeyChange]
DEFAULT = "2017-09-14-over-japan"
ACTS = """\
acts:
  - {act: posture, at: 0.1, node: JPN, partner: KOR, posture: HEIGHTENED}
  - {act: suspension, at: 0.2, until: 0.3, node: KOR, partner: JPN, reason: A leak}
  - {act: annex, at: 0, until: 1, node: JPN, partner: USA}
  - {act: overtaking, at: 0.5, node: JPN, partner: KOR, backlog: 60}
"""


def test_acts_are_read_in_the_order_of_the_file() -> None:
    acts = parse_scenario(PLAIN + ACTS, where="here").acts
    assert [type(act) for act in acts] == [PostureChange, Suspension, Annex, Overtaking]
    assert (acts[1].at, acts[1].node, acts[1].partner) == (0.2, "KOR", "JPN")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("act: posture", "act: strike", "act"),
        ("act: posture, ", "", "act"),
        ("at: 0.1", "at: 1.1", "at"),
        ("at: 0.1", 'at: "0.1"', "at"),
        ("at: 0.1, ", "", "at"),
        ("until: 0.3", "until: 0.2", "until must come after at"),
        (", until: 1,", ",", "until"),
        ("node: JPN, partner: KOR, posture", "node: KOR, partner: KOR, posture", "two nations"),
        ("partner: USA", "partner: FRA", "FRA, no nation of this file"),
        ("node: KOR", "node: GBR", "GBR, no nation of this file"),
        ("HEIGHTENED", "CALM", "posture"),
        ("backlog: 60", "backlog: 0", "backlog"),
        ("backlog: 60", "backlog: 60, reason: none", "reason"),
        (", reason: A leak", ', reason: ""', "reason"),
    ],
)
def test_an_act_that_breaks_the_format_is_refused_by_name(old: str, new: str, fault: str) -> None:
    assert old in ACTS
    with pytest.raises(ScenarioError, match=fault):
        parse_scenario(PLAIN + ACTS.replace(old, new, 1), where="here")


def test_the_default_scenario_shows_one_act_of_each_kind_and_the_others_none() -> None:
    assert {type(act) for act in scenario(DEFAULT).acts} == set(KINDS)
    assert [name for name in NAMES if scenario(name).acts] == [DEFAULT]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_act_is_documented(kind: type[BaseModel]) -> None:
    (name,) = get_args(kind.model_fields["act"].annotation)
    assert f"\n| `{name}` | " in (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
