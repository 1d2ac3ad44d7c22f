"""docs/policy.md leaves nothing of the language out, and its examples work."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from policy import BuiltIn, Circumstances, Classification, Kind, Limits, Posture, TrafficClass, cel, compile_bundle
from policy.document import Agreement, ReleaseRule
from policy.fields import ALWAYS_RELEASED, BUILT_IN
from tests.policy import reports

TEXT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()

KEYS = [
    *(f"agreements.<name>.{field.alias or name}" for name, field in Agreement.model_fields.items()),
    *ReleaseRule.model_fields,
    *("node", "posture", "agreements", "field_sets", "partner", "rules"),
]
WORDS = [
    *(kind.value for kind in Kind),
    *(word.name for words in (TrafficClass, Classification, Posture) for word in words),
]


@pytest.mark.parametrize("word", [*KEYS, *WORDS, *BUILT_IN, *BuiltIn, *ALWAYS_RELEASED])
def test_every_key_word_set_and_reason_is_taught(word: str) -> None:
    assert f"`{word}`" in TEXT


@pytest.mark.parametrize("limit", fields(Limits), ids=lambda limit: str(limit.name))
def test_every_limit_is_taught_with_its_default(limit: object) -> None:
    name = str(getattr(limit, "name", ""))
    assert f"| `{name}` | {getattr(Limits(), name):,} |" in TEXT


def test_the_first_policy_loads() -> None:
    files = dict(re.findall(r"```yaml\n# file: (\S+)\n(.*?)```", TEXT, re.DOTALL))
    bundle = compile_bundle({name: content.encode() for name, content in files.items()})
    assert (
        bundle.decide(reports.track(), "KOR", Circumstances(reports.NOW, bundle.posture)).rule == "prk-launch-warning"
    )


def test_every_condition_that_is_shown_compiles() -> None:
    (block,) = re.findall(r"```cel\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines():
        assert cel.compile_condition(line, (Kind.TRACK,)).text == line
