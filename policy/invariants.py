"""Invariants: what no rule of a bundle may ever do, whatever the rules say. Document and compiled form; no I/O.

``invariants.yaml`` is kept apart from the rules, so that a slip in a rule is caught by what was said when nobody was
busy writing rules. ``policy.prove`` proves them for every valid report. A report *violates* an invariant where all of
this is so:

1. it is released, or held for release, to one of its ``partners``;
2. it is of one of its ``kinds`` and ``traffic_classes``, and the posture is one of its ``postures`` (without these
   keys: of any);
3. its condition ``never`` is true, or ends in an error (without the key: always). A condition that cannot be
   evaluated has not been kept;
4. one of its ``fields`` goes (without the key: always);
5. the level that the copy is marked with, in the node's own levels and after re-marking, is above
   ``sent_classification_above`` (without the key: always).

At least one of the last three keys stands in every invariant: without any it would forbid everything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from policy import cel, yaml_source
from policy.document import Document
from policy.document_reader import DocumentReader
from policy.errors import ConditionError, Problem, did_you_mean
from policy.fields import BUILT_IN, LEAVES, fault_of_path
from policy.limits import Limits
from policy.texts import ClassificationWord, KindWord, ListOf, Name, PostureWord, Prose, TrafficClassWord
from policy.vocabulary import Classification, Kind, Posture, TrafficClass
from policy.yaml_source import Listing, Node, line_of, plain

ALL: Final = "all"

_MAX_INVARIANTS: Final = 512
"""Invariants of a bundle: more than an officer can hold in mind."""


@dataclass(frozen=True, slots=True)
class Invariant:
    """What never happens. ``partners`` is None where all are meant; the other sets hold every value where the
    document names none. ``fields`` are leaf paths; empty: the invariant does not speak about fields."""

    name: str
    reason: str
    partners: frozenset[str] | None
    kinds: tuple[Kind, ...]
    traffic_classes: tuple[TrafficClass, ...]
    postures: frozenset[Posture]
    condition: cel.Condition | None
    fields: tuple[str, ...]
    sent_classification_above: Classification | None

    def concerns(self, partner: str) -> bool:
        """Whether it is about releases to this partner."""
        return self.partners is None or partner in self.partners


def _partners(value: object) -> object:
    if isinstance(value, str) and value != ALL:
        remedy = "Write all, or the codes in brackets, e.g. [KOR, USA]."
        raise PydanticCustomError("word", "{value} is not known here.", {"value": f'"{value}"', "remedy": remedy})
    return [ALL] if value == ALL else value


class _Keys(Document):
    invariants: list[Any] | None = None


class _Written(Document):
    name: Name
    reason: Prose
    partners: Annotated[ListOf[str], BeforeValidator(_partners)] | None = None
    kinds: ListOf[KindWord] | None = None
    traffic_classes: ListOf[TrafficClassWord] | None = None
    postures: ListOf[PostureWord] | None = None
    never: str | None = None
    fields: ListOf[str] | None = None
    sent_classification_above: ClassificationWord | None = None


def parse_invariants(
    file: str,
    content: bytes,
    *,
    limits: Limits,
    language: cel.Language,
    partners: Collection[str],
    field_sets: Mapping[str, Collection[str]],
) -> tuple[tuple[Invariant, ...], list[Problem]]:
    """Reads a bundle's invariants from the content of ``file``.

    ``language`` compiles their conditions. ``field_sets`` are the bundle's own, by name, each a list of leaf paths and
    built-in sets. ``partners`` are those that the bundle has a file for: an invariant about anybody else is refused,
    for a misspelt code would protect nobody. Gives the invariants that are understood, and every problem found; where
    there are problems the invariants are not for use.
    """
    root, problems = yaml_source.read(file, content, limits)
    reader = _Reader(file, limits, language, field_sets, partners, DocumentReader(problems))
    return (() if root is None else reader.document(root)), problems


@dataclass(frozen=True, slots=True)
class _Reader:
    file: str
    limits: Limits
    language: cel.Language
    field_sets: Mapping[str, Collection[str]]
    partners: Collection[str]
    documents: DocumentReader

    def report(self, node: Node, path: tuple[str | int, ...], what: str, remedy: str) -> None:
        self.documents.report(self.file, line_of(node, path), what, remedy)

    def document(self, root: Node) -> tuple[Invariant, ...]:
        keys = self.documents.model(_Keys, self.file, root, "the invariants' file")
        listing = root.entries.get("invariants") if isinstance(root, yaml_source.Mapping) else None
        if keys is not None and keys.invariants is None:
            self.report(root, (), '"invariants" is missing.', "Add invariants: and a list of them.")
        if not isinstance(listing, Listing):
            return ()
        if len(listing.items) > _MAX_INVARIANTS:
            what = f"There are {len(listing.items)} invariants; the limit is {_MAX_INVARIANTS}."
            self.report(listing, (), what, "Say more with each.")
            return ()
        found: dict[str, Invariant] = {}
        lines: dict[str, int] = {}
        for node in listing.items:
            invariant = self.invariant(node)
            if invariant is None:
                continue
            if invariant.name in found:
                what = f'There are two invariants "{invariant.name}" (the first at line {lines[invariant.name]}).'
                self.report(node, ("name",), what, "Rename one: verdicts are told by the name.")
            lines.setdefault(invariant.name, line_of(node, ("name",)))
            found.setdefault(invariant.name, invariant)
        return tuple(found.values())

    def invariant(self, node: Node) -> Invariant | None:
        raw = plain(node)
        named = raw.get("name") if isinstance(raw, dict) else None
        where = f'the invariant "{named}"' if isinstance(named, str) else "the invariant"
        written = self.documents.model(_Written, self.file, node, where)
        if written is None:
            return None
        if written.partners is None:
            self.report(node, (), f'"partners" is missing from {where}.', "Add partners: all, or their codes.")
        named_partners = () if written.partners in (None, (ALL,)) else written.partners or ()
        for index, partner in enumerate(named_partners):
            if partner not in self.partners:
                what = f'"{partner}" in {where} is no partner of this bundle.'
                self.report(node, ("partners", index), what, did_you_mean(partner, self.partners))
        if written.never is None and written.fields is None and written.sent_classification_above is None:
            remedy = "Add never:, fields: or sent_classification_above:, or take the rules away instead."
            self.report(node, (), f"{where[0].upper()}{where[1:]} forbids every release.", remedy)
        kinds = written.kinds or tuple(Kind)
        return Invariant(
            name=written.name,
            reason=written.reason,
            partners=frozenset(named_partners) or None,
            kinds=kinds,
            traffic_classes=written.traffic_classes or tuple(TrafficClass),
            postures=frozenset(written.postures or Posture),
            condition=self.condition(node, written.never, kinds),
            fields=self.paths(node, written.fields or ()),
            sent_classification_above=written.sent_classification_above,
        )

    def condition(self, node: Node, text: str | None, kinds: tuple[Kind, ...]) -> cel.Condition | None:
        if text is None:
            return None
        try:
            return self.language.compile(text, kinds, self.limits)
        except ConditionError as error:
            self.documents.report_faults(self.file, node, "never", error)
            return None

    def paths(self, node: Node, named: Collection[str]) -> tuple[str, ...]:
        """Leaf paths of what an invariant names, in the order of the schema."""
        paths: set[str] = set()
        for index, entry in enumerate(named):
            if entry in self.field_sets:
                for inner in self.field_sets[entry]:
                    paths.update(BUILT_IN.get(inner, (inner,)))
            elif entry in BUILT_IN:
                paths.update(BUILT_IN[entry])
            elif (fault := fault_of_path(entry, [*self.field_sets, *BUILT_IN])) is None:
                paths.add(entry)
            else:
                self.report(node, ("fields", index), *fault)
        return tuple(path for path in LEAVES if path in paths)
