"""What an officer wrote into ``policy.yaml`` and a partner's file, as far as it can be understood. No I/O.

Beyond what the models refuse (``policy.document``), this refuses what no key shows alone: an agreement that ends before
it begins, an area of no form or of several, equivalences for the node's own levels, and obligations that oblige to
nothing or mark a copy above the ceiling of their rule.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from policy.document import (
    Agreement,
    AreaDocument,
    Coarsen,
    CountriesKeys,
    EquivalencesKeys,
    FieldSetKeys,
    IdentifierKey,
    MarkingPolicyKey,
    NameKey,
    PartnerKeys,
    PolicyKeys,
    ReleaseRule,
    RemarkDocument,
    Rule,
    WithholdRule,
)
from policy.document_reader import DocumentReader, keys_of
from policy.errors import did_you_mean
from policy.vocabulary import Classification, Effect, Posture
from policy.yaml_source import Listing, Mapping, Node, Text, line_of, plain

_M = TypeVar("_M", bound=BaseModel)


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


def read_policy(reader: DocumentReader, file: str, node: Node) -> PolicyDocument:
    """Reads ``policy.yaml``; what is wrong with it is added to the reader's problems."""
    return _File(reader, file).policy(node)


def read_partner(reader: DocumentReader, file: str, node: Node) -> PartnerDocument:
    """Reads a partner's file; what is wrong with it is added to the reader's problems."""
    return _File(reader, file).partner(node)


def sections_understood(node: Node) -> bool:
    """Whether every section of ``policy.yaml`` is one that is known and holds names: else nobody can say that what
    another file refers to does not exist."""
    sections = ("agreements", "countries", "areas", "field_sets", "equivalences")
    return (
        isinstance(node, Mapping)
        and node.entries.keys() <= set(keys_of(PolicyKeys))
        and all(isinstance(node.entries[key], Mapping) for key in sections if key in node.entries)
    )


@dataclass(frozen=True, slots=True)
class _File:
    """One file, as it is read."""

    reader: DocumentReader
    file: str

    def policy(self, node: Node) -> PolicyDocument:
        keys = self._model(PolicyKeys, node, "the policy")
        if not isinstance(node, Mapping):
            return PolicyDocument()
        agreements: dict[str, Agreement | None] = {}
        for name, inside in self._named(node, "agreements", "agreement"):
            agreement = self._model(Agreement, inside, f'the agreement "{name}"')
            if agreement is not None and agreement.from_ >= agreement.until:
                line = line_of(inside, ("until",))
                self._report(line, f'The agreement "{name}" ends before it begins.', "Mend from or until.")
            agreements[name] = agreement
        countries: dict[str, tuple[str, ...] | None] = {}
        for name, inside in self._named(node, "countries", "country list", IdentifierKey):
            listed = self._model(CountriesKeys, _wrapped("countries", inside), f'the country list "{name}"')
            countries[name] = None if listed is None else listed.countries
        areas = {name: self._area(name, inside) for name, inside in self._named(node, "areas", "area", IdentifierKey)}
        field_sets: dict[str, tuple[str, ...] | None] = {}
        for name, inside in self._named(node, "field_sets", "field set"):
            model = self._model(FieldSetKeys, _wrapped("fields", inside), f'the field set "{name}"')
            field_sets[name] = None if model is None else model.fields
        equivalences: dict[str, dict[Classification, Classification]] = {}
        for name, inside in self._named(node, "equivalences", "marking's policy", MarkingPolicyKey):
            levels = self._model(EquivalencesKeys, _wrapped("levels", inside), f'the equivalences of "{name}"')
            if keys is not None and name == keys.node:
                remedy = "Take them out: own levels stand for themselves."
                self._report(inside.line, f'"{name}" is this node itself.', remedy)
            if levels is not None:
                equivalences[name] = levels.levels
        if keys is None:
            return PolicyDocument(None, None, agreements, countries, areas, field_sets, equivalences)
        return PolicyDocument(keys.node, keys.posture, agreements, countries, areas, field_sets, equivalences)

    def partner(self, node: Node) -> PartnerDocument:
        keys = self._model(PartnerKeys, node, "the partner's file")
        listing = node.entries.get("rules") if isinstance(node, Mapping) else None
        nodes = listing.items if isinstance(listing, Listing) else ()
        rules = tuple(self._rule(inside) for inside in nodes)
        return PartnerDocument(None if keys is None else keys.partner, rules)

    def _area(self, name: str, inside: Node) -> AreaDocument | None:
        area = self._model(AreaDocument, inside, f'the area "{name}"')
        if area is not None and sum(form is not None for form in (area.circle, area.polygon, area.geojson)) != 1:
            remedy = "Give it one of circle, polygon and geojson."
            self._report(inside.line, f'The area "{name}" has no form, or more than one.', remedy)
            return None
        return area

    def _rule(self, node: Node) -> WrittenRule:
        raw = plain(node)
        entries = raw if isinstance(raw, dict) else {}
        withholds = entries.get("effect") == "withhold" or ("effect" not in entries and "fields" not in entries)
        name = entries.get("name")
        where = f'the rule "{name}"' if isinstance(name, str) else "the rule"
        effect = entries.get("effect", Effect.RELEASE)
        if isinstance(effect, str) and effect not in list(Effect):
            # Which keys it needs depends on the effect: told as missing, they would make one of the other.
            what = f'"{effect}" is not an effect.'
            self._report(line_of(node, ("effect",)), what, did_you_mean(effect, Effect))
            return WrittenRule(None, raw, node)
        model: type[Rule] = WithholdRule if withholds else ReleaseRule
        rule = self._model(model, node, where)
        if isinstance(rule, ReleaseRule) and not self._obliges_something(node, rule):
            rule = None
        return WrittenRule(rule, raw, node)

    def _obliges_something(self, node: Node, rule: ReleaseRule) -> bool:
        """Whether the obligations of a rule can be meant as they are written."""
        there, before = f'the rule "{rule.name}"', len(self.reader.problems)
        if rule.coarsen is not None:
            position = rule.coarsen.position
            if position is not None and (position.grid_m is None) is (position.round_m is None):
                line = line_of(node, ("coarsen", "position"))
                what = f"The position in {there} is coarsened in no way, or in two."
                self._report(line, what, "Give it one of grid_m and round_m.")
            if rule.coarsen == Coarsen():
                line = line_of(node, ("coarsen",))
                self._report(line, f'"coarsen" of {there} is empty.', "Name position, velocity_mps or time_s.")
        if rule.remark is not None:
            line = line_of(node, ("remark",))
            if rule.remark == RemarkDocument():
                remedy = "Name classification, add_caveats or onward_release."
                self._report(line, f'"remark" of {there} is empty.', remedy)
            if rule.remark.classification is not None and rule.remark.classification > rule.ceiling:
                line = line_of(node, ("remark", "classification"))
                what = f"{there[0].upper()}{there[1:]} marks its copies above its own ceiling."
                self._report(line, what, f"Mark them {rule.ceiling.name} or lower, or raise the ceiling.")
        return len(self.reader.problems) == before

    def _named(self, node: Node, key: str, what: str, model: type[BaseModel] = NameKey) -> list[tuple[str, Node]]:
        section = node.entries.get(key) if isinstance(node, Mapping) else None
        if not isinstance(section, Mapping):
            return []
        for name, line in section.key_lines.items():
            named = Mapping({"name": Text(name, line, line, False)}, {"name": line}, line)
            self._model(model, named, f"the {what}")
        return list(section.entries.items())

    def _model(self, model: type[_M], node: Node, where: str) -> _M | None:
        return self.reader.model(model, self.file, node, where)

    def _report(self, line: int, what: str, remedy: str) -> None:
        self.reader.report(self.file, line, what, remedy)


def _wrapped(key: str, inside: Node) -> Node:
    """A value that stands alone, as the one key of a mapping."""
    return Mapping({key: inside}, {key: inside.line}, inside.line)
