"""The one way to lay a file out: it changes nothing that the file says, and loses no comment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import policy
from policy import PolicyError, compile_bundle, document, invariants, yaml_source
from policy.cases import CaseDocument, CasesDocument, ExpectDocument, ReportDocument
from policy.format import (
    AGREEMENT_KEYS,
    CASE_KEYS,
    CASES_KEYS,
    EXPECT_KEYS,
    INVARIANT_KEYS,
    PARTNER_KEYS,
    POLICY_KEYS,
    REPORT_KEYS,
    RULE_KEYS,
    formatted,
)
from policy.limits import DEFAULT_LIMITS
from tests.policy.starter import starter_files

EXAMPLES = Path(policy.__file__).parent / "examples"


def laid_out(text: str, file: str = "partners/KOR.yaml") -> str:
    return formatted(file, text.encode()).decode()


def meaning(content: bytes) -> yaml_source.Plain:
    node, problems = yaml_source.read("x.yaml", content, DEFAULT_LIMITS)
    assert node is not None
    assert not problems
    return yaml_source.plain(node)


def test_keys_stand_in_the_order_in_which_they_are_taught_and_comments_go_with_their_keys() -> None:
    before = """\
# What we give.

rules:
- reason:   because   # in a sentence
  # what it does
  name: a
  when: |
      report.precedence >=
        Precedence.PRECEDENCE_FLASH   # no comment, but a condition
  kinds:
      - Track      # points
      # and
      - AllClear
  effect: withhold


  # the last of a
-
  name: 'b'
# at the end
partner:   KOR
"""
    after = """\
# What we give.

# at the end
partner: KOR
rules:
  # what it does
  - name: a
    effect: withhold
    reason: because  # in a sentence
    kinds:
      - Track  # points
      # and
      - AllClear
    when: |
      report.precedence >=
        Precedence.PRECEDENCE_FLASH   # no comment, but a condition

    # the last of a

  - name: 'b'
"""
    assert laid_out(before) == after
    assert laid_out(after) == after


def test_names_that_an_officer_gave_keep_their_order() -> None:
    text = "posture: ROUTINE\nnode: JPN\ncountries:\n  zulu: [PRK]\n  alpha: [IRN]\n"
    after = laid_out(text, "policy.yaml")
    assert after == "node: JPN\nposture: ROUTINE\n\ncountries:\n  zulu: [PRK]\n  alpha: [IRN]\n"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_layout_of_an_example_changes_nothing_that_it_says(path: Path) -> None:
    name = f"{path.parent.name}/{path.name}" if path.parent.name in ("partners", "cases") else path.name
    content = path.read_bytes()
    deep = yaml_source.read(name, content, policy.Limits(depth=12))[0]
    after = formatted(name, content)
    again = yaml_source.read(name, after, policy.Limits(depth=12))[0]
    assert deep is not None
    assert again is not None
    assert yaml_source.plain(deep) == yaml_source.plain(again)
    assert formatted(name, after) == after


def test_the_example_of_init_is_laid_out_so() -> None:
    for name, content in starter_files().items():
        assert formatted(name, content) == content, name


@settings(deadline=None, max_examples=60)
@given(st.randoms(use_true_random=False))
def test_a_rule_says_the_same_in_whatever_order_and_indent_it_was_written(chance: random.Random) -> None:
    text = starter_files()["partners/KOR.yaml"].decode()
    head, *rules = text.split("  - name: ")
    step = chance.choice((0, 2, 6))
    shuffled = [head.rstrip() + "\n"]
    for rule in rules:
        lines = [line.strip() for line in ("name: " + rule).splitlines() if line.strip() and "#" not in line]
        lines = [line for line in lines if not line.startswith(("coarsen", "position"))]
        chance.shuffle(lines)
        for place, line in enumerate(lines):
            shuffled.append(" " * step + ("- " if place == 0 else "  ") + line + " " * chance.randrange(3) + "\n")
            if chance.random() < 0.3:
                shuffled.append("\n" * chance.randrange(3) + " " * (step + 2) + f"# {chance.random()}\n")
    written = "".join(shuffled)
    after = laid_out(written)
    assert meaning(after.encode()) == meaning(written.encode())
    assert sorted(line.strip() for line in after.splitlines() if "#" in line) == sorted(
        line.strip() for line in written.splitlines() if "#" in line
    )
    assert laid_out(after) == after
    files = starter_files()
    was, now = (
        compile_bundle(files | {"partners/KOR.yaml": content.encode()}).partners["KOR"].rules
        for content in (written, after)
    )
    assert [(rule.name, rule.effect, rule.kinds, rule.fields, rule.ceiling) for rule in was] == [
        (rule.name, rule.effect, rule.kinds, rule.fields, rule.ceiling) for rule in now
    ]


def test_a_file_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(PolicyError) as caught:
        laid_out("partner: KOR\npartner: USA\n")
    assert "stands twice" in str(caught.value)


def test_lines_of_a_text_that_goes_on_are_kept() -> None:
    text = (
        'partner: KOR\nrules:\n  - name: a\n    reason: "one\n      two"\n    kinds: [Track,  # one\n      AllClear]\n'
    )
    assert meaning(laid_out(text).encode()) == meaning(text.encode())
    assert "# one" in laid_out(text)


def test_every_key_of_the_language_has_its_place() -> None:
    def keys(*models: type) -> set[str]:
        return {info.alias or name for model in models for name, info in model.model_fields.items()}  # type: ignore[attr-defined]  # they are pydantic's

    assert keys(document.ReleaseRule, document.WithholdRule) == set(RULE_KEYS)
    assert keys(document.Agreement) == set(AGREEMENT_KEYS)
    assert keys(document.PolicyKeys) == set(POLICY_KEYS)
    assert keys(document.PartnerKeys) == set(PARTNER_KEYS)
    assert keys(invariants._Written) == set(INVARIANT_KEYS)
    assert keys(CasesDocument) == set(CASES_KEYS)
    assert keys(CaseDocument) == set(CASE_KEYS)
    assert keys(ReportDocument) == set(REPORT_KEYS)
    assert keys(ExpectDocument) == set(EXPECT_KEYS)
