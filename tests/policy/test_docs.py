"""docs/policy.md leaves nothing of the language out, and all that it shows works."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from policy import (
    BuiltIn,
    Bundle,
    Circumstances,
    Classification,
    Kind,
    Limits,
    PolicyError,
    Posture,
    TrafficClass,
    cel,
    compile_bundle,
    document,
    invariants,
    prove,
)
from policy import cases as case_documents
from policy.cases import read_cases
from policy.decision import Outcome
from policy.errors import ConditionError, EvaluationError
from policy.fields import ALWAYS_RELEASED, BUILT_IN
from policy.format import formatted
from policy.prove import ProofSettings, Status
from policy.testing import run
from tests.policy import reports
from tests.policy.mutants import BUNDLES

PAGE: Final = Path(__file__).parents[2] / "docs" / "policy.md"
TEXT: Final = PAGE.read_text("utf-8")

VALUES: Final = frozenset(
    {
        *("FieldSetKeys", "CountriesKeys", "EquivalencesKeys"),
        *("NameKey", "IdentifierKey", "MarkingPolicyKey"),
    }
)
"""Models of a value that stands alone, or of a name: their keys are in no file."""

UNDER: Final = {
    "Agreement": "agreements.<name>.",
    "Position": "coarsen.position.",
    "RemarkDocument": "remark.",
}
"""Models whose keys are taught with the path to them."""


def models() -> Iterator[type[BaseModel]]:
    """Every model of a file that an officer writes."""
    for module in (document, invariants, case_documents):
        for name, model in vars(module).items():
            is_model = isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
            if is_model and name not in VALUES:
                yield model


def keys() -> set[str]:
    """Every key, as the page writes it."""
    return {
        UNDER.get(model.__name__, "") + (info.alias or name)
        for model in models()
        for name, info in model.model_fields.items()
    }


WORDS: Final = [
    *(kind.value for kind in Kind),
    *(word.name for words in (TrafficClass, Classification, Posture) for word in words),
    *(outcome.value for outcome in Outcome),
]


@pytest.mark.parametrize("word", [*sorted(keys()), *WORDS, *BUILT_IN, *BuiltIn, *ALWAYS_RELEASED])
def test_every_key_word_set_and_reason_is_taught(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_the_keys_of_all_kinds_of_file_are_among_those_that_are_looked_for() -> None:
    assert {"posture", "coarsen.position.grid_m", "agreements.<name>.basis", "never", "report_json", "like"} <= keys()


@pytest.mark.parametrize("status", Status)
def test_every_verdict_is_explained(status: Status) -> None:
    assert f"\n| {status} | " in TEXT


@pytest.mark.parametrize("settings", [Limits, ProofSettings], ids=lambda settings: settings.__name__)
def test_every_limit_is_taught_with_its_default(settings: Any) -> None:
    missing = [
        setting.name
        for setting in fields(settings)
        if f"| `{setting.name}` | {getattr(settings(), setting.name):,} |" not in TEXT
    ]
    assert not missing


# --- what it shows

BLOCKS: Final = re.findall(r"^```yaml\n# (file|add to): (\S+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
SHAPES: Final = re.findall(r"`(areas/\w+\.geojson)`:\n\n```json\n(.*?)```", TEXT, re.DOTALL)


def shown() -> dict[str, bytes]:
    """The files of the bundle that the page builds, with all that is added to them."""
    files: dict[str, str] = {}
    for how, name, content in BLOCKS:
        assert (how == "file") is (name not in files), f"{name} is begun twice, or added to before it is begun"
        files[name] = files[name] + "\n" + content if name in files else content
    files.update(SHAPES)
    return {name: content.encode() for name, content in files.items()}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle(shown())


def test_every_block_of_yaml_belongs_to_the_bundle_that_the_page_builds() -> None:
    assert len(BLOCKS) == TEXT.count("```yaml\n")
    assert len(SHAPES) == TEXT.count("```json\n") == 1


def test_the_first_policy_loads_and_does_what_the_page_says() -> None:
    first = {name: content.encode() for how, name, content in BLOCKS[:2] if how == "file"}
    bundle = compile_bundle(first)
    now = Circumstances(reports.NOW, bundle.posture)
    assert bundle.decide(reports.track(), "KOR", now).rule == "prk-launch-warning"
    assert bundle.decide(reports.track(), "USA", now).rule == BuiltIn.NO_POLICY


def test_whatever_is_added_to_it_loads_up_to_each_block() -> None:
    files: dict[str, str] = dict(SHAPES)
    for how, name, content in BLOCKS:
        files[name] = content if how == "file" else files[name] + "\n" + content
        named = files.items() if "geojson" in files["policy.yaml"] else files.items() - dict(SHAPES).items()
        compile_bundle({each: text.encode() for each, text in named})


def test_the_cases_that_are_shown_pass(bundle: Bundle) -> None:
    results = run(bundle, read_cases(bundle))
    assert [result.failures for result in results.results if not result.passed] == []
    assert len(results.results) == 3


def test_the_invariants_that_are_shown_are_proved(bundle: Bundle) -> None:
    verdicts = prove.prove(bundle)
    assert {verdict.status for verdict in verdicts} == {Status.PROVED}
    assert {verdict.invariant for verdict in verdicts} == {invariant.name for invariant in bundle.invariants}


def test_no_rule_that_is_shown_is_shadowed(bundle: Bundle) -> None:
    assert prove.shadowed(bundle) == ()


@pytest.mark.parametrize(
    ("name", "content"), [(name, content) for how, name, content in BLOCKS if how == "file" or name == "policy.yaml"]
)
def test_what_is_shown_is_laid_out_as_fmt_lays_it_out(name: str, content: str) -> None:
    assert formatted(name, content.encode()).decode() == content


def test_every_condition_that_is_shown_compiles(bundle: Bundle) -> None:
    (block,) = re.findall(r"```cel\n(.*?)```", TEXT, re.DOTALL)
    language = cel.Language(bundle.vocabulary)
    for line in block.splitlines():
        assert language.compile(line, (Kind.TRACK,)).text == line


CLAIMS: Final = [
    ("true || 1 / 0 > 0", "holds"),
    ("1 / 0 > 0 || true", "fails"),
    ("report.track.velocity.x_mps > 0.0", "fails"),
    ("has(report.track.velocity) && report.track.velocity.x_mps > 0.0", "does not hold"),
    ('report.threat.launch_country != "PRK"', "refused"),
    ("report.track.quality >= 5", "refused"),
    ("report.track.missile_class == 3", "refused"),
    ("report.track.missile_class < MissileClass.MISSILE_CLASS_SRBM", "refused"),
    ("dyn(report.track.quality) == 5", "refused"),
]
"""What the page says of conditions."""


@pytest.mark.parametrize(("text", "comes"), CLAIMS)
def test_conditions_come_out_as_the_page_says(bundle: Bundle, text: str, comes: str) -> None:
    language = cel.Language(bundle.vocabulary)
    report = reports.track()
    report.track.ClearField("velocity")
    try:
        condition = language.compile(text, (Kind.TRACK,))
    except ConditionError:
        assert comes == "refused"
        return
    facts = language.facts(report, "KOR", reports.NOW, "ROUTINE")
    try:
        assert comes == ("holds" if condition.holds(facts) else "does not hold")
    except EvaluationError:
        assert comes == "fails"


def test_a_kind_of_report_without_the_content_needs_has(bundle: Bundle) -> None:
    language = cel.Language(bundle.vocabulary)
    kinds = (Kind.TRACK, Kind.LAUNCH_DETECTION)
    assert language.compile("has(report.track) && report.track.quality >= 5u", kinds)
    with pytest.raises(ConditionError):
        language.compile("report.track.quality >= 5u", kinds)


def test_the_errors_that_are_shown_are_told_so() -> None:
    shown_errors = re.findall(r'^partners/KOR\.yaml:\d+: ((?:"kind"|In the condition).*)$', TEXT, re.MULTILINE)
    files = shown()
    rule = files["partners/KOR.yaml"].decode()
    for old, new in (("kinds: [LaunchDetection, T", "kind: [LaunchDetection, T"), ("launch_country", "launch_cuntry")):
        with pytest.raises(PolicyError) as caught:
            compile_bundle({**files, "partners/KOR.yaml": rule.replace(old, new, 1).encode()})
        assert any(error in str(caught.value) for error in shown_errors), str(caught.value)


def test_the_python_that_is_shown_runs(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("jpn", "jpn-new"):
        for file, content in bundle.files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {"report": reports.track()}
    exec(compile(ast.parse(block), "docs/policy.md", "exec"), names)
    assert names["copy"].track.HasField("position")
    assert names["results"].passed
    assert names["kept"]
    assert names["looser"] == names["dead"] == names["changes"] == ()


def test_every_example_that_the_repository_holds_has_a_section() -> None:
    page = (PAGE.parent / "policy-examples.md").read_text("utf-8")
    for name in BUNDLES:
        assert f"`policy/examples/{name}/`" in page
