"""Mutants of a bundle: each alters one thing that an officer wrote. What becomes of it says whether anybody notices.

A mutant is *refused* where the bundle no longer compiles, *caught by cases* where one of the bundle's cases fails, and
*caught by invariants* where no case fails but an invariant is no longer proved. It is *equivalent* where it is proved,
both ways and for every valid report, that it releases what the original does: then only what is recorded can tell
the two apart. Whatever is none of these has *survived*: nobody would notice.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import yaml

import policy
from policy import Bundle, Classification, Kind, PolicyError, Posture, TrafficClass, compile_bundle, prove
from policy.cases import Case, read_cases
from policy.fields import BUILT_IN
from policy.limits import DEFAULT_LIMITS
from policy.prove import Status
from policy.prove.verdict import Looser
from policy.testing import run
from policy.values import time_of
from policy.yaml_source import plain, read

EXAMPLES: Final = Path(policy.__file__).parent / "examples"
BUNDLES: Final = ("trilateral/jpn", "trilateral/kor", "trilateral/usa", "coalition", "civil")

Document = dict[str, Any]
Change = Callable[[Document], None]

_LEVELS: Final = tuple(level.name for level in Classification)
_TRAFFIC_CLASSES: Final = tuple(traffic_class.name for traffic_class in TrafficClass)
_MORE_FIELDS: Final = (*BUILT_IN, "marking.releasable_to")


class Fate(StrEnum):
    """What became of a mutant."""

    REFUSED = "refused"
    CASES = "cases"
    INVARIANTS = "invariants"
    EQUIVALENT = "equivalent"
    SURVIVED = "survived"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One alteration. ``sort`` is what is altered, in words that the table uses; ``partner`` is empty where it is in
    ``policy.yaml``, ``rule`` then the name of the definition."""

    sort: str
    partner: str
    rule: str
    detail: str
    change: Change = field(repr=False)

    @property
    def name(self) -> str:
        """Of all mutants of a bundle the only one that is called so."""
        return " / ".join(part for part in (self.partner or "policy.yaml", self.rule, self.sort, self.detail) if part)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _dumped(document: Document) -> bytes:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


def _parsed(name: str, content: bytes) -> Document:
    node, problems = read(name, content, DEFAULT_LIMITS)
    assert node is not None
    assert not problems
    document = plain(node)
    assert isinstance(document, dict)
    return document


class Original:
    """An example, its cases, and its files as plain documents."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.bundle = policy.load(EXAMPLES / name)
        self.cases = read_cases(self.bundle)
        self.documents = {
            file: _parsed(file, content)
            for file, content in self.bundle.files.items()
            if file == "policy.yaml" or file.startswith(("partners/", "invariants"))
        }
        self.shapes = {file: content for file, content in self.bundle.files.items() if file.startswith("areas/")}
        self._alone: dict[str, Bundle] = {}

    def mutants(self) -> Iterator[Mutant]:
        """Every mutant, rule by rule, then definition by definition."""
        for partner in self.bundle.partners:
            rules = self.documents[f"partners/{partner}.yaml"]["rules"]
            for place, rule in enumerate(rules):
                for sort, detail, change in _of_rule(rule, place, rules, self.documents["policy.yaml"]):
                    yield Mutant(sort, partner, rule["name"], detail, _in_rules(change, place))
        yield from _of_definitions(self.documents["policy.yaml"])

    def about(self, partner: str) -> dict[str, Document]:
        """The documents as far as one partner is concerned: the others get nothing, and what is said of them is left
        out. ``partner`` may be empty: all of them."""
        documents = dict(self.documents)
        if not partner:
            return documents
        for other in self.bundle.partners:
            if other != partner:
                documents[f"partners/{other}.yaml"] = {"partner": other, "rules": []}
        kept = [
            each
            for each in documents["invariants.yaml"]["invariants"]
            if each["partners"] == "all" or partner in each["partners"]
        ]
        documents["invariants.yaml"] = {"invariants": kept}
        return documents

    def alone(self, partner: str) -> Bundle:
        """The bundle as far as one partner is concerned."""
        if partner not in self._alone:
            self._alone[partner] = self.compiled(self.about(partner), self.shapes)
        return self._alone[partner]

    @staticmethod
    def compiled(documents: dict[str, Document], shapes: dict[str, bytes]) -> Bundle:
        files = {file: _dumped(document) for file, document in documents.items()}
        return compile_bundle(files | shapes)

    def altered(self, mutant: Mutant) -> Bundle:
        """The bundle with this alteration. Raises PolicyError where it is refused."""
        documents, shapes = self.about(mutant.partner), dict(self.shapes)
        file = f"partners/{mutant.partner}.yaml" if mutant.partner else "policy.yaml"
        documents[file] = copy.deepcopy(documents[file])
        mutant.change(documents[file])
        for name, shift in documents[file].pop("shift", {}).items():
            shapes[name] = _shifted(shapes[name], float(shift))
        return self.compiled(documents, shapes)

    def cases_of(self, mutant: Mutant, altered: Bundle) -> list[Case]:
        if mutant.sort == "the posture it starts in":
            with_cases = {file: content for file, content in self.bundle.files.items() if file.startswith("cases/")}
            return list(read_cases(compile_bundle({**altered.files, **with_cases})))
        return [case for case in self.cases if mutant.partner in ("", case.partner)]

    def fate(self, mutant: Mutant) -> Fate:
        """What becomes of a mutant."""
        try:
            altered = self.altered(mutant)
        except PolicyError:
            return Fate.REFUSED
        if not run(altered, self.cases_of(mutant, altered)).passed:
            return Fate.CASES
        if any(verdict.status is not Status.PROVED for verdict in prove.prove(altered)):
            return Fate.INVARIANTS
        original = self.alone(mutant.partner)
        partners = [mutant.partner] if mutant.partner else list(self.bundle.partners)
        told = (*prove.loosens(original, altered, partners), *prove.loosens(altered, original, partners))
        same = all(each.looser is Looser.RECORD for each in told)
        return Fate.EQUIVALENT if same else Fate.SURVIVED


SURVIVORS: Final[Mapping[str, Mapping[str, str]]] = {}
"""Mutants that are neither caught nor proved equivalent, by bundle and name, each with the reason why it may live."""


def table(fates: Mapping[str, Fate], original: Original) -> str:
    """What became of the mutants of a bundle, as a Markdown table with a row for each rule."""
    rows: dict[str, list[Fate]] = {}
    for mutant in original.mutants():
        rows.setdefault(_row_of(mutant), []).append(fates[mutant.name])
    lines = ["| altered | mutants | " + " | ".join(_COLUMNS.values()) + " |", "|" + " --- |" * (len(_COLUMNS) + 2)]
    rows["all"] = list(itertools.chain.from_iterable(rows.values()))
    for row, found in rows.items():
        counts = (str(found.count(fate) or "") for fate in _COLUMNS)
        lines.append(f"| {row} | {len(found)} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def counted(original: Original) -> dict[str, int]:
    """The number of mutants by the row of the table in which they are counted."""
    return dict(Counter(map(_row_of, original.mutants())))


def _row_of(mutant: Mutant) -> str:
    return f"{mutant.partner} `{mutant.rule}`" if mutant.partner else f"`policy.yaml`: `{mutant.rule}`"


_COLUMNS: Final = {
    Fate.REFUSED: "refused",
    Fate.CASES: "caught by cases",
    Fate.INVARIANTS: "by invariants alone",
    Fate.EQUIVALENT: "proved equivalent",
    Fate.SURVIVED: "survived",
}

_InRules = Callable[[list[Document], Document], None]


def _in_rules(change: _InRules, place: int) -> Change:
    def changed(document: Document) -> None:
        change(document["rules"], document["rules"][place])

    return changed


def _put(key: str, value: Any) -> _InRules:
    def change(_: list[Document], rule: Document) -> None:
        rule[key] = value

    return change


def _drop(*keys: str) -> _InRules:
    def change(_: list[Document], rule: Document) -> None:
        for key in keys:
            rule.pop(key, None)

    return change


def _of_rule(
    rule: Document, place: int, rules: list[Document], shared: Document
) -> Iterator[tuple[str, str, _InRules]]:
    yield "rule dropped", "", lambda listed, own: listed.remove(own)
    if place + 1 < len(rules):
        yield "order swapped with the next", "", lambda listed, own: listed.insert(place + 1, listed.pop(place))
    yield from _of_effect(rule)
    if "when" in rule:
        yield from _of_condition(rule["when"])
    yield from _of_list("kinds", "kind", rule["kinds"], list(Kind))
    yield from _of_list("traffic_classes", "traffic class", rule["traffic_classes"], _TRAFFIC_CLASSES)
    yield from _of_postures(rule.get("posture"))
    yield from _of_originators(rule.get("originators"), shared["node"], rule)
    if rule["effect"] == "release":
        yield from _of_ceiling(rule)
        yield from _of_agreement(rule.get("agreement"), shared.get("agreements", {}))
        own = shared.get("field_sets", {})
        yield from _of_list("fields", "field", rule["fields"], _more_fields(rule["fields"], own))
        yield from _of_obligations(rule)


def _paths(entries: Iterable[str], own: Mapping[str, list[str]]) -> set[str]:
    """The leaf paths that field sets and paths stand for."""
    inner = [each for entry in entries for each in own.get(entry, [entry])]
    return {path for each in inner for path in BUILT_IN.get(each, (each,))}


def _more_fields(entries: list[str], own: Mapping[str, list[str]]) -> list[str]:
    """What can be added to the fields of a rule so that it names more."""
    return [entry for entry in _MORE_FIELDS if not _paths([entry], own) <= _paths(entries, own)]


def _of_effect(rule: Document) -> Iterator[tuple[str, str, _InRules]]:
    def withholds(_: list[Document], own: Document) -> None:
        own["effect"] = "withhold"
        for key in ("ceiling", "fields", "coarsen", "hold_s", "remark"):
            own.pop(key, None)

    def releases(_: list[Document], own: Document) -> None:
        own.update(effect="release", ceiling="SECRET", fields=list(BUILT_IN))

    yield "effect swapped", "", withholds if rule["effect"] == "release" else releases


def _of_condition(text: str) -> Iterator[tuple[str, str, _InRules]]:
    yield "condition dropped", "", _drop("when")
    yield "condition negated", "", _put("when", f"!({text})")
    for operator in ("||", "&&"):
        parts = _split(text, operator)
        if len(parts) < 2:
            continue
        for part in parts:
            rest = f" {operator} ".join(other for other in parts if other != part)
            yield "part of a condition dropped", part, _put("when", rest)
            yield "part of a condition negated", part, _put("when", text.replace(part, f"!({part})"))
        return


def _split(text: str, operator: str) -> list[str]:
    """The operands of an operator that stands outside all brackets; one where there is none."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if not depth and text.startswith(operator, at):
            parts.append(text[start:at].strip())
            start = at + len(operator)
    return [*parts, text[start:].strip()]


def _of_list(key: str, word: str, written: list[str], known: Any) -> Iterator[tuple[str, str, _InRules]]:
    for entry in map(str, known):
        if entry not in written:
            yield f"{word} added", entry, _put(key, [*written, entry])
    for entry in written:
        if len(written) > 1:
            yield f"{word} dropped", entry, _put(key, [other for other in written if other != entry])


def _of_postures(written: list[str] | None) -> Iterator[tuple[str, str, _InRules]]:
    if written is None:
        for posture in Posture:
            yield "posture asked for", posture, _put("posture", [str(posture)])
        return
    yield "posture dropped", "", _drop("posture")
    yield from _of_list("posture", "posture", written, Posture)


def _of_originators(written: list[str] | None, node: str, rule: Document) -> Iterator[tuple[str, str, _InRules]]:
    other = "AUS"
    if written is None:
        if rule["effect"] == "release":
            yield "originator added", other, _put("originators", [node, other])
        return
    yield "originators dropped", "", _drop("originators")
    yield from _of_list("originators", "originator", written, [node, other])


def _of_ceiling(rule: Document) -> Iterator[tuple[str, str, _InRules]]:
    place = _LEVELS.index(rule["ceiling"])
    if place + 1 < len(_LEVELS):
        yield "ceiling raised", _LEVELS[place + 1], _put("ceiling", _LEVELS[place + 1])
    yield "ceiling lowered", _LEVELS[place - 1], _put("ceiling", _LEVELS[place - 1])


def _of_agreement(cited: str | None, known: Document) -> Iterator[tuple[str, str, _InRules]]:
    if cited is not None:
        yield "agreement dropped", "", _drop("agreement")
    for name in known:
        if name != cited:
            yield "another agreement cited", name, _put("agreement", name)


def _of_obligations(rule: Document) -> Iterator[tuple[str, str, _InRules]]:
    for key in ("coarsen", "remark"):
        if key not in rule:
            continue
        yield f"{key} dropped", "", _drop(key)
        for inner in rule[key]:
            if len(rule[key]) > 1:
                kept = {name: value for name, value in rule[key].items() if name != inner}
                yield f"{key} dropped in part", inner, _put(key, kept)
    if "coarsen" in rule:
        for inner, value in rule["coarsen"].items():
            finer = {name: _half(step) for name, step in value.items()} if isinstance(value, dict) else _half(value)
            yield "coarsened less", inner, _put("coarsen", {**rule["coarsen"], inner: finer})
    if "hold_s" in rule:
        yield "hold dropped", "", _drop("hold_s")
        yield "hold halved", "", _put("hold_s", _half(rule["hold_s"]))
    level = rule.get("remark", {}).get("classification")
    if level is not None:
        above = _LEVELS[_LEVELS.index(level) + 1]
        yield "re-marked higher", above, _put("remark", {**rule["remark"], "classification": above})


def _half(number: str) -> str:
    return str(int(number) // 2)


def _of_definitions(document: Document) -> Iterator[Mutant]:
    def mutant(sort: str, name: str, detail: str, change: Change) -> Mutant:
        return Mutant(sort, "", name, detail, change)

    def put(*path: str, value: Any) -> Change:
        def change(changed: Document) -> None:
            inside: Any = changed
            for key in path[:-1]:
                inside = inside[key]
            inside[path[-1]] = value

        return change

    for posture in Posture:
        if posture != document["posture"]:
            sort = "the posture it starts in"
            yield mutant(sort, "posture", posture, put("posture", value=str(posture)))
    for name, agreement in document.get("agreements", {}).items():
        for key, step in (("from", -1), ("from", 1), ("until", -1), ("until", 1)):
            moved = _moved(agreement[key], timedelta(days=step))
            detail = f"{key} {'a day later' if step > 0 else 'a day earlier'}"
            yield mutant("agreement moved", name, detail, put("agreements", name, key, value=moved))
    for name, codes in document.get("countries", {}).items():
        yield mutant("country added", name, "RUS", put("countries", name, value=[*codes, "RUS"]))
        for code in codes if len(codes) > 1 else ():
            left = [other for other in codes if other != code]
            yield mutant("country dropped", name, code, put("countries", name, value=left))
    for name, area in document.get("areas", {}).items():
        yield from _of_area(name, area, mutant, put)
    for name, entries in document.get("field_sets", {}).items():
        for entry in ("source@1", "marking.releasable_to", "threat@1", "track@1"):
            if entry not in entries:
                yield mutant("field set widened", name, entry, put("field_sets", name, value=[*entries, entry]))
        for entry in entries if len(entries) > 1 else ():
            left = [other for other in entries if other != entry]
            yield mutant("field set narrowed", name, entry, put("field_sets", name, value=left))
    for name, levels in document.get("equivalences", {}).items():
        for level, own in levels.items():
            place = _LEVELS.index(own)
            for to in (place - 1, place + 1):
                if 0 <= to < len(_LEVELS):
                    change = put("equivalences", name, level, value=_LEVELS[to])
                    yield mutant("equivalence moved", name, f"{level}: {_LEVELS[to]}", change)
            others = {other: meant for other, meant in levels.items() if other != level}
            yield mutant("equivalence dropped", name, level, put("equivalences", name, value=others))
        for level in _LEVELS:
            if level not in levels:
                change = put("equivalences", name, level, value=level)
                yield mutant("equivalence added", name, level, change)


def _of_area(name: str, area: Document, mutant: Callable[..., Mutant], put: Callable[..., Change]) -> Iterator[Mutant]:
    if "circle" in area:
        for factor in (0.8, 1.25):
            radius = str(round(float(area["circle"]["radius_m"]) * factor))
            change = put("areas", name, "circle", "radius_m", value=radius)
            yield mutant("area resized", name, f"radius {radius} m", change)
    for east in (3.0, -3.0):
        if "polygon" in area:
            corners = [[latitude, str(_wrapped(float(longitude) + east))] for latitude, longitude in area["polygon"]]
            yield mutant("area moved", name, f"{east:+g} degrees east", put("areas", name, "polygon", value=corners))
        if "geojson" in area:
            change = put("shift", value={area["geojson"]: str(east)})
            yield mutant("area moved", name, f"{east:+g} degrees east", change)


def _wrapped(longitude: float) -> float:
    return round((longitude + 180.0) % 360.0 - 180.0, 6)


def _shifted(content: bytes, east: float) -> bytes:
    shape = json.loads(content)
    shape["geometry"]["coordinates"] = [
        [[longitude + east, latitude] for longitude, latitude in ring] for ring in shape["geometry"]["coordinates"]
    ]
    return json.dumps(shape).encode()


def _moved(written: str, step: timedelta) -> str:
    moment = time_of(written if "T" in written else f"{written}T00:00:00Z") + step
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
