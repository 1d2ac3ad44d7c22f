"""Cases: what an officer expects of the policy, written beside it. Document and compiled form; no I/O.

``cases/<name>.yaml`` holds cases. Each gives a report, a partner and circumstances, and what is expected of the
decision and of the copy that goes. Rules, in order:

1. A key that is not known is refused, and everything wrong is told at once, with file and line.
2. The report is a built-in specimen of its kind (``policy.specimen``), another case's report, or written in full under
   ``report_json`` as protobuf's JSON form has it; ``set`` and ``unset`` change it. It must be valid under the contract:
   a case about a report that cannot come proves nothing.
3. A case has a time of its own, or its file has one: a case must come out alike on every day.
4. What is expected of the decision is its outcome and the rule that decides (or the built-in reason), in so many words.
5. What is expected of the copy is optional: ``fields`` names exactly those that are there, beside the always released;
   ``absent`` what must not be there; ``values`` what stands in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError
from signalfire.v1 import report_pb2

from policy import valid, values, yaml_source
from policy.bundle import Bundle
from policy.compile import CASES
from policy.decision import BuiltIn, Circumstances, Outcome
from policy.document import Document
from policy.document_reader import DocumentReader
from policy.errors import PolicyError, did_you_mean
from policy.fields import BUILT_IN, LEAVES, MESSAGES, kind_of_path
from policy.limits import DEFAULT_LIMITS, Limits
from policy.specimen import specimen
from policy.texts import KindWord, NodeCode, PostureWord
from policy.values import Misfit
from policy.vocabulary import CONTENT, KIND_OF_ARM
from policy.yaml_source import Listing, Node, line_of, plain

EVERYTHING: Final = "all"
"""Under ``had``: the partner has every report that is asked about."""

_REPORT_DEPTH: Final = 4
"""Levels that a report in full is nested deeper than anything else of the language."""


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            return values.time_of(value)
        except ValueError:
            pass
    raise PydanticCustomError("text", "{value} is not a time, e.g. 2024-06-01T12:00:00Z.", {"value": f'"{value}"'})


def _outcome(value: object) -> Outcome:
    if isinstance(value, str) and value in list(Outcome):
        return Outcome(value)
    remedy = did_you_mean(str(value), Outcome)
    raise PydanticCustomError("word", "{value} is not an outcome.", {"value": f'"{value}"', "remedy": remedy})


TimeText = Annotated[datetime, BeforeValidator(_time)]
OutcomeWord = Annotated[Outcome, BeforeValidator(_outcome)]


class CasesDocument(Document):
    """A file of cases. ``now`` and ``posture`` stand for the cases that have none."""

    now: TimeText | None = None
    posture: PostureWord | None = None
    cases: list[Any] | None = None


class ReportDocument(Document):
    """How a case's report is made: from a specimen or from another case, and what is changed in it."""

    kind: KindWord | None = None
    like: str | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)


class ExpectDocument(Document):
    """What is expected."""

    outcome: OutcomeWord | None = None
    rule: str | None = None
    fields: list[str] | None = None
    absent: list[str] | None = None
    values: dict[str, Any] | None = None
    hold_until: TimeText | None = None
    error: str | None = None


class CaseDocument(Document):
    """One case."""

    name: str | None = None
    partner: NodeCode | None = None
    report: dict[str, Any] | None = None
    report_json: dict[str, Any] | None = None
    posture: PostureWord | None = None
    now: TimeText | None = None
    accepted: TimeText | None = None
    clock_trusted: Literal["true", "false"] | None = None
    suspended: Literal["true", "false"] | None = None
    had: list[str] | str | None = None
    expect: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What a case expects; None where it does not speak of it. ``values`` are by leaf path."""

    outcome: Outcome
    rule: str
    fields: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    hold_until: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A case, ready to be run. ``had`` are the reports that the partner has; None: every one that is asked about."""

    file: str
    line: int
    name: str
    partner: str
    report: report_pb2.Report
    circumstances: Circumstances
    had: frozenset[tuple[str, str]] | None
    expect: Expected

    def was_released(self, originator: str, report_id: str) -> bool:
        """Whether the partner has this report."""
        return self.had is None or (originator, report_id) in self.had

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.name}"


def read_cases(bundle: Bundle, limits: Limits = DEFAULT_LIMITS) -> tuple[Case, ...]:
    """The cases of a bundle, in the order of files and lines. Raises PolicyError with every problem found."""
    reader = _Reader(bundle, replace(limits, depth=limits.depth + _REPORT_DEPTH))
    cases: list[Case] = []
    for name in sorted(bundle.files):
        if name.startswith(f"{CASES}/"):
            cases += reader.file(name, bundle.files[name])
    if reader.documents.problems:
        raise PolicyError(reader.documents.problems)
    return tuple(cases)


@dataclass(frozen=True, slots=True)
class _Place:
    """A node of a file, and what to call it."""

    file: str
    node: Node
    where: str

    def inside(self, key: str) -> _Place:
        node = self.node.entries.get(key) if isinstance(self.node, yaml_source.Mapping) else None
        return _Place(self.file, node or self.node, f"{key} of {self.where}")

    def has(self, key: str) -> bool:
        return isinstance(self.node, yaml_source.Mapping) and key in self.node.entries


class _Reader:
    def __init__(self, bundle: Bundle, limits: Limits) -> None:
        self.bundle = bundle
        self.limits = limits
        self.documents = DocumentReader()
        self.reports: dict[str, report_pb2.Report] = {}
        self.lines: dict[str, str] = {}

    def wrong(self, place: _Place, path: tuple[str | int, ...], what: str, remedy: str) -> None:
        self.documents.report(place.file, line_of(place.node, path), what, remedy)

    def misfits(self, place: _Place, found: Sequence[Misfit]) -> None:
        for misfit in found:
            self.documents.report(place.file, misfit.line, f"In {place.where}: {misfit.what}", misfit.remedy)

    def file(self, name: str, content: bytes) -> list[Case]:
        root, problems = yaml_source.read(name, content, self.limits)
        self.documents.problems += problems
        if root is None:
            return []
        document = self.documents.model(CasesDocument, name, root, "the file of cases")
        listing = root.entries.get("cases") if isinstance(root, yaml_source.Mapping) else None
        if document is None or not isinstance(listing, Listing) or not listing.items:
            if document is not None:
                remedy = "Add cases: and a list of cases, or take the file out."
                self.documents.report(name, root.line, "The file has no cases.", remedy)
            return []
        found = (self.case(name, node, document) for node in listing.items)
        return [case for case in found if case is not None]

    def case(self, file: str, node: Node, document: CasesDocument) -> Case | None:
        raw = plain(node)
        name = raw.get("name") if isinstance(raw, dict) else None
        place = _Place(file, node, f'the case "{name}"' if isinstance(name, str) else "the case")
        before = len(self.documents.problems)
        written = self.documents.model(CaseDocument, file, node, place.where)
        if written is None:
            return None
        self.check_name(place, written.name)
        if written.partner is None:
            self.wrong(place, (), f'"partner" is missing from {place.where}.', "Add the partner, e.g. partner: KOR.")
        now = written.now or document.now
        if now is None:
            remedy = "Add now: to the case or to its file, e.g. now: 2024-06-01T12:00:00Z."
            self.wrong(place, (), f'"now" is missing from {place.where}.', remedy)
        if now is None or written.partner is None:
            return None
        report = self.report(place, written, written.partner, now)
        expect = self.expect(place, written, report)
        had = self.had(place, written, report)
        if report is None or expect is None or len(self.documents.problems) != before:
            return None
        circumstances = Circumstances(
            now,
            written.posture or document.posture or self.bundle.posture,
            accepted=written.accepted,
            clock_trusted=written.clock_trusted != "false",
            suspended=frozenset({written.partner} if written.suspended == "true" else ()),
        )
        return Case(
            file, line_of(node, ("name",)), written.name or "", written.partner, report, circumstances, had, expect
        )

    def check_name(self, place: _Place, name: str | None) -> None:
        if name is None or not name.strip():
            self.wrong(place, (), "A case has no name.", "Add a name that says what it shows.")
        elif name in self.lines:
            what = f'There are two cases "{name}" (the first at {self.lines[name]}).'
            self.wrong(place, ("name",), what, "Rename one: results are told by the name.")
        else:
            self.lines[name] = f"{place.file}:{line_of(place.node, ('name',))}"

    def report(self, place: _Place, written: CaseDocument, partner: str, now: datetime) -> report_pb2.Report | None:
        before = len(self.documents.problems)
        if (written.report is None) is (written.report_json is None):
            remedy = "Add report: with kind: or like:, or report_json: with a report in full."
            self.wrong(place, (), f"{place.where[0].upper()}{place.where[1:]} has no report, or two.", remedy)
            return None
        if written.report_json is not None:
            report = report_pb2.Report()
            inside = place.inside("report_json")
            entries = inside.node.entries if isinstance(inside.node, yaml_source.Mapping) else {}
            for key, node in entries.items():
                self.misfits(inside, values.put(report, key, node, line_of(inside.node, (key,))))
        else:
            made = self.made(place.inside("report"), partner, now)
            if made is None:
                return None
            report = made
        if len(self.documents.problems) != before:
            return None
        self.check_valid(place, report)
        if written.name is not None:
            self.reports.setdefault(written.name, report)
        return report

    def made(self, place: _Place, partner: str, now: datetime) -> report_pb2.Report | None:
        """A specimen or another case's report, with its changes."""
        document = self.documents.model(ReportDocument, place.file, place.node, place.where)
        if document is None:
            return None
        report = report_pb2.Report()
        if document.kind is not None and document.like is None:
            report.CopyFrom(specimen(document.kind, node=self.bundle.node, partner=partner, now=now))
        elif document.like is not None and document.kind is None:
            if document.like not in self.reports:
                remedy = did_you_mean(document.like, self.reports)
                self.wrong(place, ("like",), f'No case before this one is "{document.like}".', remedy)
                return None
            report.CopyFrom(self.reports[document.like])
        else:
            remedy = "Add kind:, e.g. kind: LaunchDetection, or like: and the name of a case before this one."
            self.wrong(place, (), f"The {place.where} is of no kind, or like no other.", remedy)
            return None
        kind = KIND_OF_ARM[report.WhichOneof(CONTENT) or ""]
        for index, path in enumerate(document.unset):
            if not values.clear(report, path):
                line = ("unset", index)
                self.wrong(place, line, f'A report has no field "{path}".', did_you_mean(path, [*LEAVES, *MESSAGES]))
        changes = place.inside("set")
        entries = changes.node.entries if place.has("set") and isinstance(changes.node, yaml_source.Mapping) else {}
        for path, node in entries.items():
            if kind_of_path(path) not in (None, kind):
                what = f'A {kind} has no "{path}".'
                self.wrong(changes, (path,), what, f"Set fields of {kind.arm}, or take another kind.")
            else:
                self.misfits(changes, values.put(report, path, node, line_of(changes.node, (path,))))
        return report

    def check_valid(self, place: _Place, report: report_pb2.Report) -> None:
        for fault in valid.faults(report, self.bundle.node):
            what = f"The report of {place.where} could not come: {fault}."
            self.wrong(place, ("report" if place.has("report") else "report_json",), what, "Mend it under set:.")

    def had(
        self, place: _Place, written: CaseDocument, report: report_pb2.Report | None
    ) -> frozenset[tuple[str, str]] | None:
        if isinstance(written.had, str):
            if written.had != EVERYTHING:
                self.wrong(place, ("had",), f'"{written.had}" is not known here.', "Write all, or a list of reports.")
            return None
        originator = "" if report is None else report.originator_node
        pairs = (named.rpartition("/") for named in written.had or ())
        return frozenset((node or originator, report_id) for node, _, report_id in pairs)

    def expect(self, place: _Place, written: CaseDocument, report: report_pb2.Report | None) -> Expected | None:
        if written.expect is None:
            remedy = "Add expect: with outcome: and rule:."
            self.wrong(place, (), f'"expect" is missing from {place.where}.', remedy)
            return None
        inside = place.inside("expect")
        document = self.documents.model(ExpectDocument, place.file, inside.node, f"expect of {place.where}")
        if document is None:
            return None
        if document.outcome is None or document.rule is None:
            remedy = "Say what becomes of the report, and by which rule or built-in reason."
            self.wrong(inside, (), f'"outcome" or "rule" is missing from {inside.where}.', remedy)
            return None
        self.check_rule(inside, written.partner or "", document.rule)
        copy_keys = [key for key in ("fields", "absent", "values") if inside.has(key)]
        if copy_keys and document.outcome is not Outcome.RELEASED:
            what = f'"{copy_keys[0]}" stands where nothing is released.'
            self.wrong(inside, (copy_keys[0],), what, "Take it out, or expect outcome: released.")
        if document.hold_until is not None and document.outcome is not Outcome.HELD:
            remedy = "Take it out, or expect outcome: held."
            self.wrong(inside, ("hold_until",), '"hold_until" stands where nothing is held.', remedy)
        return Expected(
            document.outcome,
            document.rule,
            None if document.fields is None else self.named(inside, "fields", document.fields, report),
            self.named(inside, "absent", document.absent or [], None),
            self.expected_values(inside),
            document.hold_until,
            document.error,
        )

    def check_rule(self, place: _Place, partner: str, rule: str) -> None:
        policy = self.bundle.partners.get(partner)
        known = [*(each.name for each in policy.rules)] if policy is not None else []
        if rule not in known and rule not in list(BuiltIn):
            what = f'{partner} has no rule "{rule}", and no built-in reason is called so.'
            self.wrong(place, ("rule",), what, did_you_mean(rule, [*known, *BuiltIn]))

    def named(
        self, place: _Place, key: str, entries: Sequence[str], report: report_pb2.Report | None
    ) -> tuple[str, ...]:
        """Leaf paths. A field set or a message stands for its leaves; with a ``report``, for those that it has."""
        there = None if report is None else set(values.present(report))
        paths: list[str] = []
        for index, entry in enumerate(entries):
            if entry in LEAVES:
                paths.append(entry)
                continue
            group = BUILT_IN.get(entry) or tuple(leaf for leaf in LEAVES if leaf.startswith(f"{entry}."))
            if not group:
                remedy = did_you_mean(entry, [*LEAVES, *BUILT_IN])
                self.wrong(place, (key, index), f'A report has no field "{entry}".', remedy)
            paths += [leaf for leaf in group if there is None or leaf in there]
        return tuple(dict.fromkeys(paths))

    def expected_values(self, place: _Place) -> dict[str, tuple[Any, ...]]:
        inside = place.inside("values")
        if not place.has("values") or not isinstance(inside.node, yaml_source.Mapping):
            return {}
        found: dict[str, tuple[Any, ...]] = {}
        for path, node in inside.node.entries.items():
            if path not in LEAVES:
                self.wrong(inside, (path,), f'A report has no value "{path}".', did_you_mean(path, LEAVES))
                continue
            wanted, misfits = values.expected(path, node)
            self.misfits(inside, misfits)
            found[path] = tuple(wanted)
        return found
