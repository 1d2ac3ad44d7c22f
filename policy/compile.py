"""From a bundle's files to rules that can be asked. Pure: files come in as bytes, and everything wrong with them goes
out at once.

Beyond what ``yaml_source`` (the text), ``document`` and ``written`` (the keys), ``areas`` (geometry), ``invariants``
and ``cel`` (the conditions) refuse, a bundle is refused where

1. ``policy.yaml`` is missing, or a file has no place in a bundle: its places are ``policy.yaml``, ``invariants.yaml``,
   ``partners/<CODE>.yaml``, ``areas/<name>.geojson`` and ``cases/<name>.yaml``;
2. a partner's file is not named after its partner, or the partner is the node itself;
3. two rules of a partner have one name;
4. a rule cites an agreement that does not exist, to which the node or the partner is no party, or that does not cover a
   kind of the rule;
5. a rule or a field set names what is neither a leaf of the schema nor, in a rule, a field set; or a field set is
   named like a field;
6. an area names a file that the bundle does not have, or the bundle has one that no area names;
7. a release rule can never decide, because an earlier one releases the same reports without a condition, or with the
   same one.

A bundle that is too large as a whole is refused for that alone, and not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from policy import areas, cel, transform, yaml_source
from policy.areas import Area
from policy.document import Agreement, AreaDocument, Coarsen, ReleaseRule, Rule
from policy.document_reader import DocumentReader
from policy.errors import AreaError, ConditionError, PolicyError, Problem, did_you_mean
from policy.fields import BUILT_IN, LEAVES, MESSAGES, fault_of_path, fields_of_kind
from policy.invariants import Invariant, parse_invariants
from policy.limits import Limits
from policy.obligations import NONE, Grid, Obligations, Remark, Rounding
from policy.questions import Policies
from policy.rules import CompiledRule, PartnerPolicy, Term
from policy.texts import AREA_FILE
from policy.vocabulary import Effect, Kind, Posture
from policy.written import PartnerDocument, PolicyDocument, WrittenRule, read_partner, read_policy, sections_understood
from policy.yaml_source import Node, line_of

POLICY_FILE: Final = "policy.yaml"
INVARIANTS_FILE: Final = "invariants.yaml"
PARTNERS: Final = "partners"
AREAS: Final = "areas"
CASES: Final = "cases"

_PARTNER_FILE = re.compile(r"partners/([A-Z]{3})\.yaml")
_AREA_FILE = re.compile(AREA_FILE)
_CASE_FILE = re.compile(r"cases/[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.yaml")


@dataclass(frozen=True, slots=True)
class CompiledBundle:
    """What a bundle's files say, ready to be asked."""

    posture: Posture
    policies: Policies
    agreements: Mapping[str, Agreement]
    vocabulary: cel.Vocabulary
    invariants: tuple[Invariant, ...]


def compile_files(files: Mapping[str, bytes], limits: Limits) -> CompiledBundle:
    """Compiles a bundle's files, by path with forward slashes. Raises PolicyError with every problem found."""
    check_size(files, limits)
    return _Compiler(limits).bundle(files)


def check_size(files: Mapping[str, bytes], limits: Limits) -> None:
    """Raises PolicyError where all files together are too large."""
    size = sum(len(name.encode()) + len(content) for name, content in files.items())
    if size > limits.bundle_bytes:
        what = f"The bundle has {size:,} bytes; the limit is {limits.bundle_bytes:,}."
        raise PolicyError([Problem(".", 0, what, "Simplify its areas, or take out cases.")])


class _Compiler:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.reader = DocumentReader()
        self.shared: PolicyDocument | None = None
        self.language = cel.EMPTY

    def report(self, file: str, line: int, what: str, remedy: str) -> None:
        self.reader.report(file, line, what, remedy)

    def bundle(self, files: Mapping[str, bytes]) -> CompiledBundle:
        self.check_places(files)
        vocabulary = self.shared_definitions(files)
        partner_files = [name for name in sorted(files) if _PARTNER_FILE.fullmatch(name)]
        if len(partner_files) > self.limits.partner_files:
            what = f"The bundle has {len(partner_files)} partners; the limit is {self.limits.partner_files}."
            self.report(PARTNERS, 0, what, "Raise the limit partner_files.")
            partner_files = []
        policies = [self.partner(name, files[name]) for name in partner_files]
        invariants = self.invariants(files)
        shared = self.shared
        if self.reader.problems or shared is None or shared.node is None or shared.posture is None:
            raise PolicyError(self.reader.problems)
        written = (policy for policy in policies if policy is not None)
        return CompiledBundle(
            shared.posture,
            Policies.of(shared.node, written, MappingProxyType(dict(shared.equivalences)), self.language),
            {name: agreement for name, agreement in shared.agreements.items() if agreement is not None},
            vocabulary,
            invariants,
        )

    def check_places(self, files: Mapping[str, bytes]) -> None:
        if POLICY_FILE not in files:
            remedy = "Add it, with node: and posture:, and the agreements and field sets that rules name."
            self.report(POLICY_FILE, 0, "The bundle has no policy.yaml.", remedy)
        patterns = (_PARTNER_FILE, _AREA_FILE, _CASE_FILE)
        for name in sorted(files):
            if name in (POLICY_FILE, INVARIANTS_FILE) or any(pattern.fullmatch(name) for pattern in patterns):
                continue
            remedy = (
                f"A bundle holds {POLICY_FILE}, {INVARIANTS_FILE}, {PARTNERS}/<CODE>.yaml, {AREAS}/<name>.geojson and"
                f" {CASES}/<name>.yaml; take it out or rename it."
            )
            self.report(name, 0, "The file has no place in a bundle.", remedy)

    def shared_definitions(self, files: Mapping[str, bytes]) -> cel.Vocabulary:
        """Reads ``policy.yaml`` and what it names; afterwards conditions can be compiled."""
        root = self.read(POLICY_FILE, files[POLICY_FILE]) if POLICY_FILE in files else None
        if root is None:
            self.language = cel.Language(cel.Vocabulary({}, {}, is_whole=False))
            return self.language.vocabulary
        is_whole = not self.reader.problems_of(POLICY_FILE) and sections_understood(root)
        self.shared = read_policy(self.reader, POLICY_FILE, root)
        self.check_field_sets(self.shared, root)
        named = {area.geojson for area in self.shared.areas.values() if area is not None}
        for name in sorted(files):
            if is_whole and _AREA_FILE.fullmatch(name) and name not in named and None not in self.shared.areas.values():
                self.report(name, 0, "No area of policy.yaml names this file.", "Name it, or take it out.")
        found = {
            name: self.area(name, written, files, line_of(root, ("areas", name)))
            for name, written in self.shared.areas.items()
        }
        # What was named but not understood stands as an empty list or a point, so that whoever refers to it is not told
        # that it does not exist; a bundle with a problem is never asked.
        vocabulary = cel.Vocabulary(
            {name: listed or () for name, listed in self.shared.countries.items()},
            {name: area or areas.circle(name, (0.0, 0.0), 1.0) for name, area in found.items()},
            is_whole,
        )
        self.language = cel.Language(vocabulary)
        if not is_whole:
            self.shared = None
        return vocabulary

    def area(self, name: str, written: AreaDocument | None, files: Mapping[str, bytes], line: int) -> Area | None:
        if written is None:
            return None
        place = POLICY_FILE
        try:
            if written.circle is not None:
                return areas.circle(name, written.circle.centre, written.circle.radius_m)
            if written.polygon is not None:
                return areas.polygon(name, [written.polygon])
            if written.geojson is None or written.geojson not in files:
                remedy = "Put it into the bundle, or mend its name."
                self.report(POLICY_FILE, line, f'The bundle has no file "{written.geojson}".', remedy)
                return None
            place, line = written.geojson, 0
            content = files[place]
            if len(content) > self.limits.file_bytes:
                what = f"The file has more than {self.limits.file_bytes:,} bytes."
                self.report(place, 0, what, "Simplify the polygon, or split it into several areas.")
                return None
            return areas.from_geojson(name, content)
        except AreaError as error:
            self.report(place, line, f'In the area "{name}": {error}', "")
            return None

    def invariants(self, files: Mapping[str, bytes]) -> tuple[Invariant, ...]:
        if INVARIANTS_FILE not in files or not self.language.vocabulary.is_whole:
            return ()
        partners = [
            name.removeprefix(f"{PARTNERS}/").removesuffix(".yaml") for name in files if _PARTNER_FILE.fullmatch(name)
        ]
        own_sets = {} if self.shared is None else self.shared.field_sets
        invariants, problems = parse_invariants(
            INVARIANTS_FILE,
            files[INVARIANTS_FILE],
            limits=self.limits,
            language=self.language,
            partners=partners,
            field_sets={name: paths or () for name, paths in own_sets.items()},
        )
        self.reader.problems += problems
        return invariants

    def read(self, file: str, content: bytes) -> Node | None:
        node, problems = yaml_source.read(file, content, self.limits)
        self.reader.problems += problems
        return node

    def check_field_sets(self, shared: PolicyDocument, root: Node) -> None:
        for name, named in shared.field_sets.items():
            if name in LEAVES or name in MESSAGES:
                line = line_of(root, ("field_sets", name))
                self.report(POLICY_FILE, line, f'The field set "{name}" is named like a field.', "Rename it.")
            for index, entry in enumerate(named or ()):
                if entry not in BUILT_IN and (fault := fault_of_path(entry)):
                    line = line_of(root, ("field_sets", name, index))
                    self.report(POLICY_FILE, line, *fault)

    def partner(self, file: str, content: bytes) -> PartnerPolicy | None:
        root = self.read(file, content)
        if root is None:
            return None
        written = read_partner(self.reader, file, root)
        partner = file.removeprefix(f"{PARTNERS}/").removesuffix(".yaml")
        self.check_partner(file, root, partner, written)
        if len(written.rules) > self.limits.rules:
            what = f"The partner has {len(written.rules)} rules; the limit is {self.limits.rules}."
            self.report(file, line_of(root, ("rules",)), what, "Join rules, or raise the limit rules.")
            return None
        compiled = [self.rule(file, partner, rule) for rule in written.rules]
        self.check_reach(file, compiled, written)
        if self.reader.problems:
            return None
        return PartnerPolicy(partner, tuple(rule for rule in compiled if rule is not None), self.language)

    def check_reach(self, file: str, compiled: list[CompiledRule | None], written: PartnerDocument) -> None:
        """Rule 7."""
        earlier: list[CompiledRule] = []
        for rule, place in zip(compiled, written.rules, strict=True):
            if rule is None:
                continue
            for other in earlier:
                if _always_before(other, rule):
                    what = f'The rule "{rule.name}" never decides: "{other.name}" always decides before it.'
                    remedy = "Take one of the two out, or tell their conditions apart."
                    self.report(file, line_of(place.node, ("name",)), what, remedy)
                    break
            earlier.append(rule)

    def check_partner(self, file: str, root: Node, partner: str, written: PartnerDocument) -> None:
        line = line_of(root, ("partner",))
        if written.partner is not None and written.partner != partner:
            what = f'The file of "{partner}" says that the partner is "{written.partner}".'
            self.report(file, line, what, f"Rename the file to {written.partner}.yaml, or mend partner:.")
        if self.shared is not None and self.shared.node == partner:
            self.report(file, line, "The node is its own partner.", "Take the file out, or mend node: in policy.yaml.")
        first: dict[str, int] = {}
        for entry in written.rules:
            if entry.rule is None:
                continue
            here = line_of(entry.node, ("name",))
            if entry.rule.name in first:
                what = f'There are two rules "{entry.rule.name}" (the first at line {first[entry.rule.name]}).'
                self.report(file, here, what, "Rename one: decisions are recorded by the rule's name.")
            first.setdefault(entry.rule.name, here)

    def rule(self, file: str, partner: str, written: WrittenRule) -> CompiledRule | None:
        """Compiles one rule. Of a rule that is not understood as a whole, its condition and fields are looked at
        nonetheless, so that an officer sees all there is to mend."""
        rule = written.rule
        if rule is None:
            self.look_at(file, written)
            return None
        condition = self.condition(file, written.node, rule.when, rule.kinds)
        understood = rule.when is None or condition is not None
        term = self.term(file, partner, written.node, rule)
        self.check_originators(file, partner, written.node, rule)
        fields: dict[Kind, tuple[str, ...]] = {}
        if isinstance(rule, ReleaseRule):
            paths = self.fields(file, written.node, rule.fields)
            fields = {kind: fields_of_kind(paths, kind) for kind in rule.kinds}
            for named in fields.values():
                transform.prepare(named)
        own = self.shared.node if self.shared is not None else None
        return _compiled(rule, condition, term, fields, own or "") if understood else None

    def check_originators(self, file: str, partner: str, node: Node, rule: Rule) -> None:
        for index, originator in enumerate(rule.originators or ()):
            if originator == partner:
                what = f"The rule is about reports of {partner}, to {partner} itself."
                line = line_of(node, ("originators", index))
                self.report(file, line, what, "Take it out: nothing goes back to its originator.")

    def look_at(self, file: str, written: WrittenRule) -> None:
        raw = written.raw if isinstance(written.raw, dict) else {}
        kinds = raw.get("kinds")
        known = [Kind(kind) for kind in kinds if kind in list(Kind)] if isinstance(kinds, list) else []
        if isinstance(when := raw.get("when"), str):
            self.condition(file, written.node, when, tuple(known))
        if isinstance(named := raw.get("fields"), list):
            self.fields(file, written.node, tuple(entry if isinstance(entry, str) else "" for entry in named))

    def condition(self, file: str, node: Node, text: str | None, kinds: tuple[Kind, ...]) -> cel.Condition | None:
        if text is None:
            return None
        try:
            return self.language.compile(text, kinds, self.limits)
        except ConditionError as error:
            self.reader.report_faults(file, node, "when", error)
            return None

    def term(self, file: str, partner: str, node: Node, rule: Rule) -> Term | None:
        if rule.agreement is None or self.shared is None:
            return None
        line = line_of(node, ("agreement",))
        if rule.agreement not in self.shared.agreements:
            what = f'policy.yaml has no agreement "{rule.agreement}".'
            self.report(file, line, what, did_you_mean(rule.agreement, self.shared.agreements))
            return None
        agreement = self.shared.agreements[rule.agreement]
        if agreement is None:
            return None
        for bound in (self.shared.node, partner):
            if bound is not None and bound not in agreement.parties:
                what = f"{bound} is no party to the agreement {rule.agreement!r}."
                self.report(file, line, what, "Cite another agreement, or mend its parties in policy.yaml.")
        for kind in rule.kinds:
            if kind not in agreement.kinds:
                what = f"The agreement {rule.agreement!r} does not cover {kind}."
                self.report(file, line, what, f"Take {kind} out of the rule, or mend the agreement's kinds.")
        return _term(rule.agreement, agreement)

    def fields(self, file: str, node: Node, named: tuple[str, ...]) -> tuple[str, ...]:
        """Leaf paths of what a rule names."""
        own = self.shared.field_sets if self.shared is not None else None
        paths: list[str] = []
        for index, entry in enumerate(named):
            if own is not None and entry in own:
                for inner in own[entry] or ():
                    paths += BUILT_IN.get(inner, (inner,))
            elif entry in BUILT_IN:
                paths += BUILT_IN[entry]
            elif (fault := fault_of_path(entry, [*(own or ()), *BUILT_IN])) is None:
                paths.append(entry)
            elif own is not None or "." in entry or "@" in entry:
                self.report(file, line_of(node, ("fields", index)), *fault)
        return tuple(paths)


def _term(name: str, agreement: Agreement) -> Term:
    return Term(name, agreement.from_, agreement.until)


def _obligations(rule: ReleaseRule) -> Obligations:
    if rule.coarsen is None and rule.remark is None:
        return NONE
    coarsen = rule.coarsen or Coarsen()
    position: Grid | Rounding | None = None
    if coarsen.position is not None:
        if coarsen.position.grid_m is not None:
            position = Grid(coarsen.position.grid_m)
        elif coarsen.position.round_m is not None:
            position = Rounding(coarsen.position.round_m)
    remark = None
    if rule.remark is not None:
        onward = rule.remark.onward_release
        remark = Remark(
            rule.remark.classification, rule.remark.add_caveats or (), None if onward is None else frozenset(onward)
        )
    return Obligations(position, coarsen.velocity_mps, coarsen.time_s, remark)


def _always_before(first: CompiledRule, second: CompiledRule) -> bool:
    """Whether ``first`` releases wherever ``second`` would, for all that can be seen without a proof.

    A withhold rule may stand before anything: that is how an officer keeps back what other rules still release.
    """
    if first.ceiling is None or second.ceiling is None or first.name == second.name:
        return False
    if first.originators is None or second.originators is None:
        return False
    return (
        set(second.kinds) <= set(first.kinds)
        and set(second.traffic_classes) <= set(first.traffic_classes)
        and second.posture <= first.posture
        and second.originators <= first.originators
        and first.ceiling >= second.ceiling
        and first.term in (None, second.term)
        and _text(first) in (None, _text(second))
    )


def _text(rule: CompiledRule) -> str | None:
    return None if rule.condition is None else rule.condition.text


def _compiled(
    rule: Rule,
    condition: cel.Condition | None,
    term: Term | None,
    fields: Mapping[Kind, tuple[str, ...]],
    node: str,
) -> CompiledRule:
    releases = rule if isinstance(rule, ReleaseRule) else None
    # Whoever writes "never" without saying of whom means everybody's reports; what is released is always named.
    otherwise = None if releases is None else frozenset({node})
    return CompiledRule(
        name=rule.name,
        effect=Effect(rule.effect),
        reason=rule.reason,
        kinds=rule.kinds,
        traffic_classes=rule.traffic_classes,
        posture=frozenset(rule.posture or Posture),
        originators=frozenset(rule.originators) if rule.originators else otherwise,
        condition=condition,
        ceiling=None if releases is None else releases.ceiling,
        term=term,
        fields=fields,
        hold=timedelta(seconds=0 if releases is None or releases.hold_s is None else releases.hold_s),
        obligations=NONE if releases is None else _obligations(releases),
    )
