"""From a bundle's files to rules that can be asked. Pure: files come in as bytes, and everything wrong with them goes
out at once.

Beyond what ``yaml_source`` (the text), ``document`` (the keys) and ``cel`` (the conditions) refuse, a bundle is refused
where

1. ``policy.yaml`` is missing, or a file is neither that nor ``partners/<CODE>.yaml``;
2. a partner's file is not named after its partner, or the partner is the node itself;
3. two rules of a partner have one name;
4. a rule cites an agreement that does not exist, or to which the node or the partner is no party;
5. a rule or a field set names what is neither a leaf of the schema nor, in a rule, a field set; or a field set is
   named like a field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Final

from policy import cel, document, transform, yaml_source
from policy.decide import CompiledRule, PartnerPolicy, Term
from policy.document import Agreement, DocumentReader, PartnerDocument, PolicyDocument, ReleaseRule, Rule, WrittenRule
from policy.errors import ConditionError, PolicyError, did_you_mean
from policy.fields import BUILT_IN, LEAVES, MESSAGES, fault_of_path, fields_of_kind
from policy.limits import Limits
from policy.vocabulary import Effect, Kind, Posture
from policy.yaml_source import Node, Text, line_of

POLICY_FILE: Final = "policy.yaml"
PARTNERS: Final = "partners"

_PARTNER_FILE = re.compile(r"partners/([A-Z]{3})\.yaml")


@dataclass(frozen=True, slots=True)
class CompiledBundle:
    """What a bundle's files say, ready to be asked."""

    node: str
    posture: Posture
    partners: Mapping[str, PartnerPolicy]


def compile_files(files: Mapping[str, bytes], limits: Limits) -> CompiledBundle:
    """Compiles a bundle's files, by path with forward slashes. Raises PolicyError with every problem found."""
    return _Compiler(limits).bundle(files)


class _Compiler:
    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.reader = DocumentReader()
        self.shared: PolicyDocument | None = None

    def report(self, file: str, line: int, what: str, remedy: str) -> None:
        self.reader.report(file, line, what, remedy)

    def bundle(self, files: Mapping[str, bytes]) -> CompiledBundle:
        if POLICY_FILE in files:
            node = self.read(POLICY_FILE, files[POLICY_FILE])
            if node is not None:
                self.shared = self.reader.policy(POLICY_FILE, node)
                self.check_field_sets(self.shared, node)
        else:
            remedy = "Add it, with node: and posture:, and the agreements and field sets that rules name."
            self.report(POLICY_FILE, 0, "The bundle has no policy.yaml.", remedy)
        partner_files = [name for name in sorted(files) if _PARTNER_FILE.fullmatch(name)]
        for name in sorted(set(files) - {POLICY_FILE, *partner_files}):
            remedy = (
                f"A bundle holds {POLICY_FILE} and {PARTNERS}/<CODE>.yaml, one a partner; take it out or rename it."
            )
            self.report(name, 0, "The file has no place in a bundle.", remedy)
        if len(partner_files) > self.limits.partner_files:
            what = f"The bundle has {len(partner_files)} partners; the limit is {self.limits.partner_files}."
            self.report(PARTNERS, 0, what, "Raise the limit partner_files.")
            partner_files = []
        policies = [self.partner(name, files[name]) for name in partner_files]
        shared = self.shared
        if self.reader.problems or shared is None or shared.node is None or shared.posture is None:
            raise PolicyError(self.reader.problems)
        return CompiledBundle(
            shared.node, shared.posture, {policy.partner: policy for policy in policies if policy is not None}
        )

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
        written = self.reader.partner(file, root)
        partner = file.removeprefix(f"{PARTNERS}/").removesuffix(".yaml")
        self.check_partner(file, root, partner, written)
        if len(written.rules) > self.limits.rules:
            what = f"The partner has {len(written.rules)} rules; the limit is {self.limits.rules}."
            self.report(file, line_of(root, ("rules",)), what, "Join rules, or raise the limit rules.")
            return None
        compiled = [self.rule(file, partner, rule) for rule in written.rules]
        return PartnerPolicy.of(partner, tuple(rule for rule in compiled if rule is not None))

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
        term = None
        fields: dict[Kind, tuple[str, ...]] = {}
        if isinstance(rule, ReleaseRule):
            term = self.term(file, partner, written.node, rule)
            paths = self.fields(file, written.node, rule.fields)
            fields = {kind: fields_of_kind(paths, kind) for kind in rule.kinds}
            for named in fields.values():
                transform.prepare(named)
        return _compiled(rule, condition, term, fields)

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
            return cel.compile_condition(text, kinds, self.limits)
        except ConditionError as error:
            place = node.entries.get("when") if isinstance(node, yaml_source.Mapping) else None
            for fault in error.faults:
                line = line_of(node, ("when",))
                if isinstance(place, Text):
                    line = place.first_line + (max(fault.line, 1) - 1 if place.literal else 0)
                self.report(file, line, f"In the condition: {fault.what}", fault.remedy)
            return None

    def term(self, file: str, partner: str, node: Node, rule: ReleaseRule) -> Term | None:
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


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _term(name: str, agreement: Agreement) -> Term:
    return Term(name, _start_of(agreement.from_), _start_of(agreement.until))


def _compiled(
    rule: Rule, condition: cel.Condition | None, term: Term | None, fields: Mapping[Kind, tuple[str, ...]]
) -> CompiledRule:
    return CompiledRule(
        name=rule.name,
        effect=Effect(rule.effect),
        reason=rule.reason,
        kinds=rule.kinds,
        traffic_classes=rule.traffic_classes,
        posture=frozenset(rule.posture or Posture),
        condition=condition,
        ceiling=rule.ceiling if isinstance(rule, document.ReleaseRule) else None,
        term=term,
        fields=fields,
    )
