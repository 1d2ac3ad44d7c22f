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


TEXTS = {
    "a dash on a line of its own": "-\n  # of this one\n  name: first\n  effect: withhold\n  kinds:\n  - Track",
    "braces": "- {name: first, effect: withhold, kinds: [Track]}",
    "braces over several lines": "- {name: first,\neffect: withhold,\nkinds: [Track,\nLaunch]}",
    "a list no deeper than its key": "- name: first\n  kinds:\n  - Track\n  - Launch",
    "a list in brackets over several lines": "- name: first\n  traffic_classes: [LIVE,\nTEST]",
    "a text that ends in what looks like a comment": "- name: first\n  reason: |\n    because\n    # and only then",
    "a text over several lines": "- name: first\n  reason: 'because\n\n    of it'   # so",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("after", ["", "\n# of another\n- name: other\n", "\n\nlast: key\n"])
def test_a_rule_is_all_that_the_parser_takes_for_it_however_it_is_written(text: str, after: str) -> None:
    head = "partner: KOR\nrules:\n# a comment\n"
    found = rule_text({"partners/KOR.yaml": f"{head}{text}{after}".encode()}, "KOR", "first")
    assert found is not None
    assert found.text == text
    assert found.line == 4


def test_of_rules_in_one_line_the_one_that_decided_is_given() -> None:
    source = b"rules: [{name: one, effect: release}, {name: two, effect: withhold}]\n"
    found = rule_text({"partners/KOR.yaml": source}, "KOR", "two")
    assert found is not None
    assert (found.line, found.text) == (1, "{name: two, effect: withhold}")


def test_what_is_not_there_is_not_found() -> None:
    files = {"partners/KOR.yaml": ODD, "partners/USA.yaml": b"\xff", "policy.yaml": b"agreements: []\n"}
    assert rule_text(files, "KOR", "(no rule releases it)") is None
    assert rule_text(files, "USA", "first") is None
    assert rule_text(files, "FRA", "first") is None
    assert agreement_text(files, "first") is None
    assert agreement_text({}, "first") is None
