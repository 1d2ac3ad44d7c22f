"""Whatever is altered in an example policy is noticed: by its cases, by its invariants, or because it no longer loads.

Here a sample of all alterations is tried; bench/mutation.py tries every one, and docs/policy-examples.md shows what
came of it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from policy import PolicyError, prove
from policy.prove import Status
from policy.testing import run
from tests.policy.mutants import BUNDLES, SURVIVORS, Fate, Original, counted

PAGE: Final = Path(__file__).parents[2] / "docs" / "policy-examples.md"
STRIDE: Final = {"coalition": 61}
"""Every how manieth mutant is tried. A prime, so that every sort of alteration gets its turn."""
ORIGINALS: Final = {name: Original(name) for name in BUNDLES}


@pytest.mark.parametrize("name", BUNDLES)
def test_nothing_that_is_altered_goes_unnoticed(name: str) -> None:
    original = ORIGINALS[name]
    mutants = list(original.mutants())[:: STRIDE.get(name, 17)]
    survived = {mutant.name for mutant in mutants if original.fate(mutant) is Fate.SURVIVED}
    assert survived <= SURVIVORS.get(name, {}).keys()


@pytest.mark.parametrize("name", BUNDLES)
def test_every_rule_that_is_dropped_or_turned_round_is_caught(name: str) -> None:
    original = ORIGINALS[name]
    sorts = ("rule dropped", "effect swapped", "condition negated")
    mutants = [mutant for mutant in original.mutants() if mutant.sort in sorts]
    some = mutants[::4] if name == "coalition" else mutants
    caught = (Fate.CASES, Fate.INVARIANTS, Fate.REFUSED)
    assert [mutant.name for mutant in some if original.fate(mutant) not in caught] == []


@pytest.mark.parametrize("name", BUNDLES)
def test_every_mutant_has_a_name_of_its_own_and_alters_its_bundle(name: str) -> None:
    original = ORIGINALS[name]
    mutants = list(original.mutants())
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    for mutant in mutants[::47]:
        try:
            altered = original.altered(mutant)
        except PolicyError:
            continue
        file = f"partners/{mutant.partner}.yaml" if mutant.partner else "policy.yaml"
        shapes = [each for each in altered.files if each.startswith("areas/")]
        before = original.compiled(original.documents, original.shapes).files
        assert any(altered.files[each] != before[each] for each in (file, *shapes)), mutant.name


def test_a_bundle_without_cases_and_invariants_would_notice_nothing() -> None:
    original = Original("trilateral/usa")
    (mutant,) = (each for each in original.mutants() if each.name == "KOR / prk-flight-warning / condition dropped")
    altered = original.altered(mutant)
    assert not run(altered, original.cases_of(mutant, altered)).passed
    assert Status.REFUTED in {verdict.status for verdict in prove.prove(altered)}
    original.cases = ()
    original.documents["invariants.yaml"] = {"invariants": []}
    assert original.fate(mutant) is Fate.SURVIVED


@pytest.mark.parametrize("name", BUNDLES)
def test_the_table_in_the_documents_counts_every_mutant_of_every_rule(name: str) -> None:
    found = re.search(rf"<!-- mutants of {name} -->\n(.*?)<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    rows = dict(re.findall(r"^\| (.+?) \| (\d+) \|", found[1], re.MULTILINE))
    counts = counted(ORIGINALS[name])
    assert rows == {row: str(count) for row, count in {**counts, "all": sum(counts.values())}.items()}, (
        "run bench/mutation.py --write"
    )


def test_whatever_is_listed_as_a_survivor_is_a_mutant_of_its_bundle() -> None:
    for name, listed in SURVIVORS.items():
        assert listed.keys() <= {mutant.name for mutant in ORIGINALS[name].mutants()}
