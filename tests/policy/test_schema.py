"""The published JSON Schemas are those of the models, and take what the language takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

import policy
from policy import cases, document
from policy.schema import _VALUES, schemas
from policy.yaml_source import Listing, Mapping, Node, Text, read
from tests.policy.starter import starter_files

ROOM = Path(policy.__file__).parent
SCHEMAS = schemas()
KIND_OF_FILE = {"policy": "policy", "invariants": "invariants", "partners": "partner", "cases": "cases"}


def as_editors_read(node: Node, key: str = "") -> Any:
    """The tree as YAML's core schema has it: numbers and truths are not texts."""
    match node:
        case Text(value=value):
            if value in ("true", "false"):
                return value == "true"
            if re.fullmatch(r"-?\d+", value):
                return int(value)
            return float(value) if re.fullmatch(r"-?\d+\.\d*", value) else value
        case Listing(items=items):
            return [as_editors_read(item) for item in items]
        case Mapping(entries=entries):
            return {name: as_editors_read(value) for name, value in entries.items()}


def faults(kind: str, text: str) -> list[str]:
    node, problems = read("x.yaml", text.encode(), policy.Limits(depth=12))
    assert node is not None, problems
    return [error.message for error in Draft202012Validator(SCHEMAS[kind]).iter_errors(as_editors_read(node))]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_published_schema_is_the_generated_one(kind: str) -> None:
    published = (ROOM / "schemas" / f"{kind}.json").read_text("utf-8")
    assert published == json.dumps(SCHEMAS[kind], indent=2, ensure_ascii=False) + "\n", (
        "run: signalfire policy schema --dir policy/schemas"
    )


def test_nothing_else_is_published() -> None:
    assert {path.stem for path in (ROOM / "schemas").iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_each_is_a_schema_of_its_draft(kind: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[kind])


@pytest.mark.parametrize(
    "path", sorted((ROOM / "examples").rglob("*.yaml")), ids=lambda path: "/".join(path.parts[-3:])
)
def test_every_file_of_the_examples_is_taken(path: Path) -> None:
    name = path.parent.name if path.parent.name in KIND_OF_FILE else path.stem
    assert faults(KIND_OF_FILE[name], path.read_text("utf-8")) == []


@pytest.mark.parametrize("name", starter_files())
def test_every_file_of_init_is_taken_and_names_its_schema(name: str) -> None:
    text = starter_files()[name].decode()
    kind = KIND_OF_FILE[name.partition("/")[0].removesuffix(".yaml")]
    assert faults(kind, text) == []
    assert text.startswith(f"# yaml-language-server: $schema={'../' * name.count('/')}.schema/{kind}.json\n")


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("policy", "node: JPN", "node: Japan"),
        ("policy", "posture: ROUTINE", "posture: QUIET"),
        ("policy", "posture: ROUTINE\n", ""),
        ("policy", "basis:", "base:"),
        ("policy", "radius_m: 80000", "radius_m: 0"),
        ("policy", "warning: [envelope@1", "warning: [envelop@1"),
        ("partner", "effect: withhold", "effect: keep"),
        ("partner", "ceiling: SECRET", "ceiling: 4"),
        ("partner", "traffic_classes: [TEST]", "traffic_classes: []"),
        ("partner", "position: {grid_m: 1000}", "position: {grid_m: 1000, round_m: 10}"),
        ("partner", "    fields: [warning]\n", ""),
        ("partner", "kinds: [Track]", "kinds: [Tracks]"),
        ("invariants", "partners: all\n    fields", "partners: some\n    fields"),
        ("invariants", "    fields: [source@1]\n", ""),
        ("cases", "outcome: released", "outcome: sent"),
        ("cases", "kind: Track\n", "unset: []\n"),
        ("cases", "threat.launch_country: IRN", "threat.country: IRN"),
        ("cases", "{launch_detection.certainty: POSSIBLE}", "{launch_detection.certainty: MAYBE}"),
        ("cases", "absent: [source@1]", "absent: [sources@1]"),
    ],
)
def test_what_an_editor_can_see_is_refused(kind: str, old: str, new: str) -> None:
    names = {"policy": "policy.yaml", "partner": "partners/KOR.yaml", "invariants": "invariants.yaml"}
    text = starter_files()[names.get(kind, "cases/warning.yaml")].decode()
    assert old in text
    assert faults(kind, text.replace(old, new))


TYPES = [pytest.param(hint, schema, id=str(place)) for place, (hint, schema) in enumerate(_VALUES)]
SAMPLES = [
    *("JPN", "jpn", "a-name", "-a", "A", "2023-12-19", "2023-12-1", "2023-12-19T09:00:00Z", "Track", "LIVE"),
    *("SECRET", "ROUTINE", "EYES-ONLY"),
    *("areas/x.geojson", "x.geojson", "a sentence", " ", "2024-06-01T12:00:00Z", "2024-06-01", "released", "sent"),
    *("0", "1", "-1", "90", "90.5", "-91", "180", "3600", "3601", "10000", "10001", "1000000", "1000001", "2678400"),
    *("2678401", "5000000", "5000001", "1.5"),
]


@pytest.mark.parametrize(("hint", "schema"), TYPES)
def test_a_value_is_taken_by_the_schema_where_the_language_takes_it(hint: Any, schema: dict[str, Any]) -> None:
    taken = []
    for sample in SAMPLES:
        try:
            TypeAdapter(hint).validate_python(sample)
        except ValidationError:
            by_language = False
        else:
            by_language = True
        numeric = schema.get("type") in ("number", "integer")
        read_so = as_editors_read(Text(sample, 1, 1, False)) if numeric else sample
        by_schema = Draft202012Validator(schema).is_valid(read_so)
        assert by_schema == by_language, sample
        taken.append(by_language)
    assert any(taken)
    assert not all(taken)


def test_a_type_that_is_not_described_makes_no_schema() -> None:
    from policy.schema import _typed

    with pytest.raises(TypeError, match=r"add it to policy\.schema"):
        _typed(complex)


def test_the_schemas_know_every_key_of_the_models() -> None:
    rules = SCHEMAS["partner"]["properties"]["rules"]["items"]["oneOf"]
    assert [set(rule["properties"]) for rule in rules] == [
        set(document.ReleaseRule.model_fields),
        set(document.WithholdRule.model_fields),
    ]
    one = SCHEMAS["cases"]["properties"]["cases"]["items"]
    assert set(one["properties"]) == set(cases.CaseDocument.model_fields)
