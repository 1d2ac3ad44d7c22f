"""The rule that decided, cut out of its file: all of it, and nothing of its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.rule_text import agreement_text, rule_text
from policy.bundle import load, read_files

EXAMPLES = Path(__file__).parents[2] / "policy" / "examples"
BUNDLES = sorted(path.parent for path in EXAMPLES.glob("*/*/policy.yaml"))

ODD = b"""\
partner: KOR
rules:
# a comment of the list
- name: first   # of two
  effect: withhold
  when: |
    report.report_id == "x"

    && true

  # its own
  reason: "- name: second"
# not its own

-   effect: withhold
    name: 'second'
last: key
"""


@pytest.mark.parametrize("directory", BUNDLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_rule_of_the_examples_is_found_where_it_stands(directory: Path) -> None:
    files, bundle = read_files(directory), load(directory)
    for partner, towards in bundle.partners.items():
        names = [rule.name for rule in towards.rules]
        for name in names:
            found = rule_text(files, partner, name)
            assert found is not None
            assert found.path == f"partners/{partner}.yaml"
            assert files[found.path].decode().split("\n")[found.line - 1].strip() == found.text.split("\n")[0]
            assert [each for each in names if f"name: {each}\n" in found.text + "\n"] == [name]
            assert "reason:" in found.text
    for name in bundle.agreements:
        found = agreement_text(files, name)
        assert found is not None
        assert found.text.startswith(f"{name}:")
        assert [each for each in bundle.agreements if f"\n{each}:" in f"\n{found.text}"] == [name]


def test_a_rule_ends_where_the_next_begins_whatever_stands_between() -> None:
    files = {"partners/KOR.yaml": ODD}
    first, second = rule_text(files, "KOR", "first"), rule_text(files, "KOR", "second")
    assert first is not None
    assert second is not None
    assert (first.line, second.line) == (4, 15)
    assert first.text.split("\n")[0] == "- name: first   # of two"
    assert first.text.split("\n")[-1] == '  reason: "- name: second"'
    assert "&& true" in first.text
    assert second.text == "-   effect: withhold\n    name: 'second'"


def test_what_is_not_there_is_not_found() -> None:
    files = {"partners/KOR.yaml": ODD, "partners/USA.yaml": b"\xff", "policy.yaml": b"agreements: []\n"}
    assert rule_text(files, "KOR", "(no rule releases it)") is None
    assert rule_text(files, "USA", "first") is None
    assert rule_text(files, "FRA", "first") is None
    assert agreement_text(files, "first") is None
    assert agreement_text({}, "first") is None
