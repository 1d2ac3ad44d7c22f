"""The documents of a bundle as an officer writes them, and what each key must hold. No I/O.

``policy.yaml`` holds what the partners' files share: the node, its default posture, its agreements, country lists,
areas, field sets and equivalences of classification. ``partners/<CODE>.yaml`` holds the rules for one partner, in the
order in which they are tried.

The models refuse every key that they do not know and give no default to anything that decides who gets what: the
traffic classes, the kinds, the ceiling and the fields of a rule are always written out. A default may only mean
"always" (``when``), "in any posture" (``posture``), "cites no agreement" (``agreement``), "our own reports" where the
rule releases and "everybody's" where it withholds (``originators``), "unchanged" (``coarsen``, ``remark``) or "at once"
(``hold_s``).

Values come from ``policy.yaml_source`` as text, lists and mappings of text; a model says what a text stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from policy.countries import NODE_CODES
from policy.errors import Problem, did_you_mean, did_you_mean_country, nearest
from policy.obligations import (
    LEAST_METRES,
    LEAST_SPEED_STEP_MPS,
    LEAST_TIME_STEP_S,
    MOST_METRES,
    MOST_SPEED_STEP_MPS,
    MOST_TIME_STEP_S,
)
from policy.vocabulary import Classification, Effect, Kind, Posture, TrafficClass
from policy.yaml_source import Listing, Mapping, Node, Text, line_of, plain

_T = TypeVar("_T")


def _text(pattern: str, meaning: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise PydanticCustomError("text", "{value} is not {meaning}.", {"value": f'"{value}"', "meaning": meaning})
        return value

    return check


def _word(words: Iterable[_T], spelling: Callable[[_T], str]) -> Callable[[object], _T]:
    by_spelling = {spelling(word): word for word in words}

    def check(value: object) -> _T:
        if not isinstance(value, str):
            raise PydanticCustomError("wrong_type", "A word is needed here.")
        if value not in by_spelling:
            remedy = did_you_mean(value, by_spelling)
            raise PydanticCustomError("word", "{value} is not known here.", {"value": f'"{value}"', "remedy": remedy})
        return by_spelling[value]

    return check


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                return datetime.combine(date.fromisoformat(value), time(), tzinfo=UTC)
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", value):
                return datetime.fromisoformat(value)
        except ValueError:
            pass
    remedy = "Write the day, e.g. 2023-12-19 (from 00:00 UTC), or the moment, e.g. 2023-12-19T09:00:00Z."
    raise PydanticCustomError("text", "{value} is not a day or a moment.", {"value": f'"{value}"', "remedy": remedy})


def _each_once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    twice = {str(value) for value in values if values.count(value) > 1}
    if twice:
        raise PydanticCustomError("twice", "{value} stands twice.", {"value": ", ".join(sorted(twice))})
    return values


def _code(whose: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in NODE_CODES:
            raise PydanticCustomError(
                "word",
                "{value} is not {whose} code (ISO 3166-1 alpha-3).",
                {"value": f'"{value}"', "whose": whose, "remedy": did_you_mean_country(value)},
            )
        return value

    return check


NodeCode = Annotated[str, AfterValidator(_code("a node's"))]
CountryCode = Annotated[str, AfterValidator(_code("a country's"))]
Name = Annotated[
    str,
    AfterValidator(_text(r"[a-z0-9][a-z0-9-]{0,63}", "a name: 1 to 64 characters of a-z, 0-9 and -, no - in front")),
]
Prose = Annotated[str, AfterValidator(_text(r"(?s)(?=.*\S).{1,500}", "a sentence of 1 to 500 characters"))]
Moment = Annotated[datetime, BeforeValidator(_moment)]
KindWord = Annotated[Kind, BeforeValidator(_word(Kind, str))]
TrafficClassWord = Annotated[TrafficClass, BeforeValidator(_word(TrafficClass, lambda word: word.name))]
ClassificationWord = Annotated[Classification, BeforeValidator(_word(Classification, lambda word: word.name))]
PostureWord = Annotated[Posture, BeforeValidator(_word(Posture, str))]
Identifier = Annotated[
    str,
    AfterValidator(
        _text(r"[a-z][a-z0-9_]{0,63}", "a name for conditions: 1 to 64 characters of a-z, 0-9 and _, a letter in front")
    ),
]
MarkingPolicy = Annotated[
    str, AfterValidator(_text(r"[A-Z0-9_-]{1,32}", "a marking's policy: 1 to 32 characters of A-Z, 0-9, _ and -"))
]
Caveat = Annotated[
    str, AfterValidator(_text(r"[A-Z0-9 _-]{1,32}", "a caveat: 1 to 32 characters of A-Z, 0-9, space, _ and -"))
]
AreaFile = Annotated[
    str, AfterValidator(_text(r"areas/[a-z0-9][a-z0-9_-]{0,63}\.geojson", "a file of the bundle: areas/<name>.geojson"))
]


def _number(unit: str, least: float, most: float) -> BeforeValidator:
    """A decimal number, as text, within bounds."""

    def check(value: object) -> float:
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", value):
            number = float(value)
            if least <= number <= most:
                return number
        raise PydanticCustomError(
            "number",
            "{value} is not a number of {unit} from {least} to {most}.",
            {"value": f'"{value}"', "unit": unit, "least": f"{least:,g}", "most": f"{most:,g}"},
        )

    return BeforeValidator(check)


def _whole(unit: str, least: int, most: int) -> BeforeValidator:
    """A whole number, as text, within bounds."""

    def check(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,8}", value) and least <= int(value) <= most:
            return int(value)
        raise PydanticCustomError(
            "number",
            "{value} is not a whole number of {unit} from {least} to {most}.",
            {"value": f'"{value}"', "unit": unit, "least": f"{least:,}", "most": f"{most:,}"},
        )

    return BeforeValidator(check)


CoarseMetres = Annotated[float, _number("metres", LEAST_METRES, MOST_METRES)]
CoarseSpeed = Annotated[float, _number("m/s", LEAST_SPEED_STEP_MPS, MOST_SPEED_STEP_MPS)]
CoarseSeconds = Annotated[int, _whole("seconds", LEAST_TIME_STEP_S, MOST_TIME_STEP_S)]
HoldSeconds = Annotated[int, _whole("seconds", 1, 31 * 86_400)]
Radius = Annotated[float, _number("metres", 1, 5_000_000)]
Latitude = Annotated[float, _number("degrees north", -90, 90)]
Longitude = Annotated[float, _number("degrees east", -180, 180)]

_MAX_ENTRIES: Final = 512
"""Entries of one list: about seven times the fields that the contract has."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_ListOf = Annotated[
    tuple[_T, ...], Field(strict=False, min_length=1, max_length=_MAX_ENTRIES), AfterValidator(_each_once)
]


class Agreement(_Document):
    """A legal basis. In force from ``from`` until, not including, ``until``; a day stands for its start, UTC."""

    title: Prose
    basis: Prose
    parties: _ListOf[NodeCode]
    from_: Annotated[Moment, Field(alias="from")]
    until: Moment
    kinds: _ListOf[KindWord]


_Corner = Annotated[tuple[Latitude, Longitude], Field(strict=False)]


class Circle(_Document):
    """All points at most a geodesic distance away from one."""

    centre: _Corner
    radius_m: Radius


class AreaDocument(_Document):
    """A named area: a circle, a polygon of (latitude, longitude) corners, or a GeoJSON file of the bundle."""

    circle: Circle | None = None
    polygon: Annotated[tuple[_Corner, ...], Field(strict=False, max_length=512)] | None = None
    geojson: AreaFile | None = None


class Position(_Document):
    """How a position is coarsened: one of the two."""

    grid_m: CoarseMetres | None = None
    round_m: CoarseMetres | None = None


class Coarsen(_Document):
    """What of a released copy is made coarser, and how far."""

    position: Position | None = None
    velocity_mps: CoarseSpeed | None = None
    time_s: CoarseSeconds | None = None


class RemarkDocument(_Document):
    """How a released copy is marked anew."""

    classification: ClassificationWord | None = None
    add_caveats: _ListOf[Caveat] | None = None
    onward_release: Annotated[tuple[NodeCode, ...], Field(strict=False), AfterValidator(_each_once)] | None = None


class _Rule(_Document):
    name: Name
    reason: Prose
    kinds: _ListOf[KindWord]
    traffic_classes: _ListOf[TrafficClassWord]
    posture: _ListOf[PostureWord] | None = None
    originators: _ListOf[NodeCode] | None = None
    agreement: Name | None = None
    when: str | None = None


class ReleaseRule(_Rule):
    """A rule that releases the named fields of the reports that it matches."""

    effect: Literal["release"]
    ceiling: ClassificationWord
    fields: _ListOf[str]
    coarsen: Coarsen | None = None
    hold_s: HoldSeconds | None = None
    remark: RemarkDocument | None = None


class WithholdRule(_Rule):
    """A rule that keeps back the reports that it matches, whatever releases them.

    It may cite an agreement as its legal basis; it keeps back whether that is in force or not.
    """

    effect: Literal["withhold"]


Rule = ReleaseRule | WithholdRule


class _PolicyKeys(_Document):
    node: NodeCode
    posture: PostureWord
    agreements: dict[str, Any] = {}
    countries: dict[str, Any] = {}
    areas: dict[str, Any] = {}
    field_sets: dict[str, Any] = {}
    equivalences: dict[str, Any] = {}


class _PartnerKeys(_Document):
    partner: NodeCode
    rules: list[Any]


class _FieldSetKeys(_Document):
    fields: _ListOf[str]


class _CountriesKeys(_Document):
    countries: _ListOf[CountryCode]


class _EquivalencesKeys(_Document):
    levels: Annotated[dict[ClassificationWord, ClassificationWord], Field(min_length=1)]


class _NameKey(_Document):
    name: Name


class _IdentifierKey(_Document):
    name: Identifier


class _MarkingPolicyKey(_Document):
    name: MarkingPolicy


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """``policy.yaml``, as far as it could be read.

    What was named but not understood is there as None, so that whoever refers to it is not told that it does not
    exist.
    """

    node: str | None = None
    posture: Posture | None = None
    agreements: dict[str, Agreement | None] = field(default_factory=dict)
    countries: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    areas: dict[str, AreaDocument | None] = field(default_factory=dict)
    field_sets: dict[str, tuple[str, ...] | None] = field(default_factory=dict)
    equivalences: dict[str, dict[Classification, Classification]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WrittenRule:
    """One rule as it stands in its file. ``rule`` is None where it is not understood; ``raw`` is what was written."""

    rule: Rule | None
    raw: Any
    node: Node


@dataclass(frozen=True, slots=True)
class PartnerDocument:
    """One partner's file, as far as it could be read."""

    partner: str | None
    rules: tuple[WrittenRule, ...]


_M = TypeVar("_M", bound=BaseModel)


@dataclass(slots=True)
class DocumentReader:
    """Reads the documents of one bundle, and gathers what is wrong with them in ``problems``."""

    problems: list[Problem] = field(default_factory=list)

    def report(self, file: str, line: int, what: str, remedy: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(file, line, what, remedy))

    def problems_of(self, file: str) -> list[Problem]:
        """What is wrong with one file, as far as is known by now."""
        return [problem for problem in self.problems if problem.file == file]

    def policy(self, file: str, node: Node) -> PolicyDocument:
        """Reads ``policy.yaml``."""
        raw = plain(node)
        keys = self._model(_PolicyKeys, file, node, raw, "the policy")
        if not isinstance(raw, dict):
            return PolicyDocument()
        agreements: dict[str, Agreement | None] = {}
        for name, inside in self._named(file, node, "agreements", "agreement"):
            agreement = self._model(Agreement, file, inside, plain(inside), f'the agreement "{name}"')
            if agreement is not None and agreement.from_ >= agreement.until:
                line = line_of(inside, ("until",))
                self.report(file, line, f'The agreement "{name}" ends before it begins.', "Mend from or until.")
            agreements[name] = agreement
        countries: dict[str, tuple[str, ...] | None] = {}
        for name, inside in self._named(file, node, "countries", "country list", _IdentifierKey):
            listed = self._model(_CountriesKeys, file, *_wrapped("countries", inside), f'the country list "{name}"')
            countries[name] = None if listed is None else listed.countries
        areas = {
            name: self._area(file, name, inside)
            for name, inside in self._named(file, node, "areas", "area", _IdentifierKey)
        }
        field_sets: dict[str, tuple[str, ...] | None] = {}
        for name, inside in self._named(file, node, "field_sets", "field set"):
            model = self._model(_FieldSetKeys, file, *_wrapped("fields", inside), f'the field set "{name}"')
            field_sets[name] = None if model is None else model.fields
        equivalences: dict[str, dict[Classification, Classification]] = {}
        for name, inside in self._named(file, node, "equivalences", "marking's policy", _MarkingPolicyKey):
            levels = self._model(_EquivalencesKeys, file, *_wrapped("levels", inside), f'the equivalences of "{name}"')
            if keys is not None and name == keys.node:
                remedy = "Take them out: own levels stand for themselves."
                self.report(file, inside.line, f'"{name}" is this node itself.', remedy)
            if levels is not None:
                equivalences[name] = levels.levels
        if keys is None:
            return PolicyDocument(None, None, agreements, countries, areas, field_sets, equivalences)
        return PolicyDocument(keys.node, keys.posture, agreements, countries, areas, field_sets, equivalences)

    def _area(self, file: str, name: str, inside: Node) -> AreaDocument | None:
        area = self._model(AreaDocument, file, inside, plain(inside), f'the area "{name}"')
        if area is not None and sum(form is not None for form in (area.circle, area.polygon, area.geojson)) != 1:
            remedy = "Give it one of circle, polygon and geojson."
            self.report(file, inside.line, f'The area "{name}" has no form, or more than one.', remedy)
            return None
        return area

    def partner(self, file: str, node: Node) -> PartnerDocument:
        """Reads a partner's file."""
        raw = plain(node)
        keys = self._model(_PartnerKeys, file, node, raw, "the partner's file")
        listing = node.entries.get("rules") if isinstance(node, Mapping) else None
        nodes = listing.items if isinstance(listing, Listing) else ()
        rules = tuple(self._rule(file, inside) for inside in nodes)
        return PartnerDocument(None if keys is None else keys.partner, rules)

    def _rule(self, file: str, node: Node) -> WrittenRule:
        raw = plain(node)
        entries = raw if isinstance(raw, dict) else {}
        withholds = entries.get("effect") == "withhold" or ("effect" not in entries and "fields" not in entries)
        name = entries.get("name")
        where = f'the rule "{name}"' if isinstance(name, str) else "the rule"
        effect = entries.get("effect", Effect.RELEASE)
        if isinstance(effect, str) and effect not in list(Effect):
            # Which keys it needs depends on the effect: told as missing, they would make one of the other.
            what = f'"{effect}" is not an effect.'
            self.report(file, line_of(node, ("effect",)), what, did_you_mean(effect, Effect))
            return WrittenRule(None, raw, node)
        model: type[Rule] = WithholdRule if withholds else ReleaseRule
        rule = self._model(model, file, node, raw, where)
        if isinstance(rule, ReleaseRule) and not self._obliges_something(file, node, rule):
            rule = None
        return WrittenRule(rule, raw, node)

    def _obliges_something(self, file: str, node: Node, rule: ReleaseRule) -> bool:
        """Whether the obligations of a rule can be meant as they are written."""
        there, before = f'the rule "{rule.name}"', len(self.problems)
        if rule.coarsen is not None:
            position = rule.coarsen.position
            if position is not None and (position.grid_m is None) is (position.round_m is None):
                line = line_of(node, ("coarsen", "position"))
                what = f"The position in {there} is coarsened in no way, or in two."
                self.report(file, line, what, "Give it one of grid_m and round_m.")
            if rule.coarsen == Coarsen():
                line = line_of(node, ("coarsen",))
                self.report(file, line, f'"coarsen" of {there} is empty.', "Name position, velocity_mps or time_s.")
        if rule.remark is not None:
            line = line_of(node, ("remark",))
            if rule.remark == RemarkDocument():
                remedy = "Name classification, add_caveats or onward_release."
                self.report(file, line, f'"remark" of {there} is empty.', remedy)
            if rule.remark.classification is not None and rule.remark.classification > rule.ceiling:
                line = line_of(node, ("remark", "classification"))
                what = f"{there[0].upper()}{there[1:]} marks its copies above its own ceiling."
                self.report(file, line, what, f"Mark them {rule.ceiling.name} or lower, or raise the ceiling.")
        return len(self.problems) == before

    def _named(
        self, file: str, node: Node, key: str, what: str, model: type[BaseModel] = _NameKey
    ) -> list[tuple[str, Node]]:
        section = node.entries.get(key) if isinstance(node, Mapping) else None
        if not isinstance(section, Mapping):
            return []
        for name, line in section.key_lines.items():
            named = Mapping({"name": Text(name, line, line, False)}, {"name": line}, line)
            self._model(model, file, named, plain(named), f"the {what}")
        return list(section.entries.items())

    def _model(self, model: type[_M], file: str, node: Node, raw: object, where: str) -> _M | None:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            details = error.errors(include_url=False)
            inner = {detail["loc"][:-1] for detail in details}
            misspelt = {
                (*detail["loc"][:-1], nearest(str(detail["loc"][-1]), _keys_of(model)))
                for detail in details
                if detail["type"] == "extra_forbidden"
            }
            for detail in details:
                if detail["type"] == "missing" and detail["loc"] in misspelt:
                    continue  # it stands there under another spelling, which is told
                if detail["type"] == "too_short" and detail["loc"] in inner:
                    continue  # an entry was refused, and so is not counted
                what, remedy = _in_words(detail, model, where)
                self.report(file, line_of(node, detail["loc"]), what, remedy)
            return None


def sections_understood(node: Node) -> bool:
    """Whether every section of ``policy.yaml`` is one that is known and holds names: else nobody can say that what
    another file refers to does not exist."""
    sections = ("agreements", "countries", "areas", "field_sets", "equivalences")
    return (
        isinstance(node, Mapping)
        and node.entries.keys() <= set(_keys_of(_PolicyKeys))
        and all(isinstance(node.entries[key], Mapping) for key in sections if key in node.entries)
    )


def _wrapped(key: str, inside: Node) -> tuple[Node, object]:
    """A value that stands alone, as the one key of a mapping, and the same without lines."""
    whole = Mapping({key: inside}, {key: inside.line}, inside.line)
    return whole, plain(whole)


_ADD: Final = {
    "basis": "Add the legal basis, e.g. basis: Exchange of notes of 19 December 2023.",
    "centre": "Add the centre, e.g. centre: [38.0, 127.5] (latitude, longitude in degrees).",
    "radius_m": "Add the radius in metres, e.g. radius_m: 300000.",
    "agreement": "Name one of the agreements of policy.yaml.",
    "ceiling": "Add the highest classification that the rule may release, e.g. ceiling: SECRET.",
    "effect": "Add effect: release or effect: withhold.",
    "fields": "Add the fields and field sets that may go, e.g. fields: [launch@1].",
    "from": "Add the first day on which it is in force, e.g. from: 2023-12-19.",
    "kinds": "Add the kinds of report that the rule is about, e.g. kinds: [LaunchDetection, Track].",
    "name": "Add a name that says what the rule does, e.g. name: prk-launch-warning.",
    "node": "Add this nation's code, e.g. node: JPN.",
    "parties": "Add the nations that it binds, e.g. parties: [JPN, KOR, USA].",
    "partner": "Add the partner's code, e.g. partner: KOR.",
    "posture": "Add the posture that holds until an officer declares another, e.g. posture: ROUTINE.",
    "reason": "Add why, in a sentence: it is shown with every decision of the rule.",
    "rules": "Add rules: and a list of rules; rules: [] releases nothing.",
    "title": "Add the title under which lawyers know it.",
    "traffic_classes": "Add the classes that are meant, e.g. traffic_classes: [LIVE, EXERCISE]; none is assumed.",
    "until": "Add the first day on which it is in force no longer, e.g. until: 2033-12-19.",
}


def _keys_of(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]


def _in_words(detail: ErrorDetails, model: type[BaseModel], where: str) -> tuple[str, str]:
    """What pydantic found, in an officer's words: what, and the remedy."""
    context = detail.get("ctx", {})
    key = next((str(step) for step in reversed(detail["loc"]) if isinstance(step, str)), "")
    there = f'"{key}" of {where}' if key else where
    match detail["type"]:
        case "missing" if isinstance(detail["loc"][-1], int):
            return f"A point in {there} has too few numbers.", "Write it as [latitude, longitude]."
        case "missing":
            return f'"{key}" is missing from {where}.', _ADD[key]
        case "extra_forbidden" if model is WithholdRule and key in _keys_of(ReleaseRule):
            return f'"{key}" stands in {where}, which withholds.', "Take it out: only a release rule has it."
        case "extra_forbidden":
            return f'"{key}" is not a key of {where}.', did_you_mean(key, _keys_of(model))
        case "string_type":
            return f"A list or mapping stands in {there}, where one value is needed.", "Write a single value."
        case "tuple_type" | "list_type":
            return f"A single value stands in {there}, where a list is needed.", "Put it in brackets, e.g. [LIVE]."
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"Something else stands in {there} where keys with values are needed.", "Write key: value lines."
        case "too_long" if model is AreaDocument:
            return f"Something in {there} is too long.", "A point is [latitude, longitude]; an area has 512 at most."
        case "too_short":
            return f"The list in {there} is empty.", "Name at least one, or take the rule out."
        case "too_long":
            return f"The list in {there} is longer than {_MAX_ENTRIES} entries.", "Shorten it."
        case "literal_error":
            return f'"{detail["input"]}" is not an effect.', did_you_mean(str(detail["input"]), Effect)
        case _:
            return f"In {there}: {detail['msg']}", str(context.get("remedy", ""))
