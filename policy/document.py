"""The documents of a bundle as an officer writes them, and what each key must hold. No I/O.

``policy.yaml`` holds what the partners' files share: the node, its default posture, its agreements and its field
sets. ``partners/<CODE>.yaml`` holds the rules for one partner, in the order in which they are tried.

The models refuse every key that they do not know and give no default to anything that decides who gets what: the
traffic classes, the kinds, the ceiling and the fields of a rule are always written out. A default may only mean
"always" (``when``), "in any posture" (``posture``) or "cites no agreement" (``agreement``).

Values come from ``policy.yaml_source`` as text, lists and mappings of text; a model says what a text stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from policy.errors import Problem, did_you_mean
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


def _day(value: object) -> date:
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise PydanticCustomError("text", "{value} is not a day, e.g. 2023-12-19.", {"value": f'"{value}"'})


def _each_once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    twice = {str(value) for value in values if values.count(value) > 1}
    if twice:
        raise PydanticCustomError("twice", "{value} stands twice.", {"value": ", ".join(sorted(twice))})
    return values


NodeCode = Annotated[str, AfterValidator(_text(r"[A-Z]{3}", "a node's code: three capitals (ISO 3166-1 alpha-3)"))]
Name = Annotated[
    str,
    AfterValidator(_text(r"[a-z0-9][a-z0-9-]{0,63}", "a name: 1 to 64 characters of a-z, 0-9 and -, no - in front")),
]
Prose = Annotated[str, AfterValidator(_text(r"(?s)(?=.*\S).{1,500}", "a sentence of 1 to 500 characters"))]
Day = Annotated[date, BeforeValidator(_day)]
KindWord = Annotated[Kind, BeforeValidator(_word(Kind, str))]
TrafficClassWord = Annotated[TrafficClass, BeforeValidator(_word(TrafficClass, lambda word: word.name))]
ClassificationWord = Annotated[Classification, BeforeValidator(_word(Classification, lambda word: word.name))]
PostureWord = Annotated[Posture, BeforeValidator(_word(Posture, str))]

_MAX_ENTRIES: Final = 512
"""Entries of one list: about seven times the fields that the contract has."""


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_ListOf = Annotated[
    tuple[_T, ...], Field(strict=False, min_length=1, max_length=_MAX_ENTRIES), AfterValidator(_each_once)
]


class Agreement(_Document):
    """A legal basis. In force from the start of the day ``from`` until the start of the day ``until``, UTC."""

    title: Prose
    parties: _ListOf[NodeCode]
    from_: Annotated[Day, Field(alias="from")]
    until: Day


class _Rule(_Document):
    name: Name
    reason: Prose
    kinds: _ListOf[KindWord]
    traffic_classes: _ListOf[TrafficClassWord]
    posture: _ListOf[PostureWord] | None = None
    when: str | None = None


class ReleaseRule(_Rule):
    """A rule that releases the named fields of the reports that it matches."""

    effect: Literal["release"]
    ceiling: ClassificationWord
    agreement: Name | None = None
    fields: _ListOf[str]


class WithholdRule(_Rule):
    """A rule that keeps back the reports that it matches, whatever releases them.

    It cites no agreement: what keeps back must not lapse.
    """

    effect: Literal["withhold"]


Rule = ReleaseRule | WithholdRule


class _PolicyKeys(_Document):
    node: NodeCode
    posture: PostureWord
    agreements: dict[str, Any] = {}
    field_sets: dict[str, Any] = {}


class _PartnerKeys(_Document):
    partner: NodeCode
    rules: list[Any]


class _FieldSetKeys(_Document):
    fields: _ListOf[str]


class _NameKey(_Document):
    name: Name


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """``policy.yaml``, as far as it could be read.

    What was named but not understood is there as None, so that whoever refers to it is not told that it does not
    exist.
    """

    node: str | None
    posture: Posture | None
    agreements: dict[str, Agreement | None]
    field_sets: dict[str, tuple[str, ...] | None]


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

    def policy(self, file: str, node: Node) -> PolicyDocument:
        """Reads ``policy.yaml``."""
        raw = plain(node)
        keys = self._model(_PolicyKeys, file, node, raw, "the policy")
        if not isinstance(raw, dict):
            return PolicyDocument(None, None, {}, {})
        agreements: dict[str, Agreement | None] = {}
        for name, inside in self._named(file, node, raw, "agreements", "agreement"):
            agreement = self._model(Agreement, file, inside, plain(inside), f'the agreement "{name}"')
            if agreement is not None and agreement.from_ >= agreement.until:
                line = line_of(inside, ("until",))
                self.report(file, line, f'The agreement "{name}" ends before it begins.', "Mend from or until.")
            agreements[name] = agreement
        field_sets: dict[str, tuple[str, ...] | None] = {}
        for name, inside in self._named(file, node, raw, "field_sets", "field set"):
            whole = Mapping({"fields": inside}, {"fields": inside.line}, inside.line)
            model = self._model(_FieldSetKeys, file, whole, plain(whole), f'the field set "{name}"')
            field_sets[name] = None if model is None else model.fields
        if keys is None:
            return PolicyDocument(None, None, agreements, field_sets)
        return PolicyDocument(keys.node, keys.posture, agreements, field_sets)

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
        model: type[Rule] = WithholdRule if withholds else ReleaseRule
        return WrittenRule(self._model(model, file, node, raw, where), raw, node)

    def _named(self, file: str, node: Node, raw: dict[str, Any], key: str, what: str) -> list[tuple[str, Node]]:
        section = node.entries.get(key) if isinstance(node, Mapping) else None
        if not isinstance(section, Mapping):
            return []
        for name, line in section.key_lines.items():
            named = Mapping({"name": Text(name, line, line, False)}, {"name": line}, line)
            self._model(_NameKey, file, named, plain(named), f"the {what}")
        return list(section.entries.items())

    def _model(self, model: type[_M], file: str, node: Node, raw: object, where: str) -> _M | None:
        try:
            return model.model_validate(raw)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                what, remedy = _in_words(detail, model, where)
                self.report(file, line_of(node, detail["loc"]), what, remedy)
            return None


_ADD: Final = {
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
        case "too_short":
            return f"The list in {there} is empty.", "Name at least one, or take the rule out."
        case "too_long":
            return f"The list in {there} is longer than {_MAX_ENTRIES} entries.", "Shorten it."
        case "literal_error":
            return f'"{detail["input"]}" is not an effect.', did_you_mean(str(detail["input"]), Effect)
        case _:
            return f"In {there}: {detail['msg']}", str(context.get("remedy", ""))
