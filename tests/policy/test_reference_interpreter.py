"""The compiled policy against a slow interpreter that takes the rules as they are written: over random bundles and
reports both come to the same decision and the same copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from policy import Circumstances, Outcome, PolicyError, compile_bundle
from policy.fields import ALWAYS_RELEASED, BUILT_IN, LEAVES
from tests.policy import reports

NODES = ("JPN", "KOR", "USA")
KINDS = ("LaunchDetection", "Track", "ImpactPrediction", "Correction", "Cancellation", "AllClear")
CLASSES = ("LIVE", "EXERCISE", "TEST")
LEVELS = ("UNCLASSIFIED", "RESTRICTED", "CONFIDENTIAL", "SECRET", "TOP_SECRET")
POSTURES = ("ROUTINE", "HEIGHTENED", "IMMINENT")
AGREEMENTS = {
    "past": (datetime(2020, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    "now": (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)),
}
TIMES = (datetime(2023, 6, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))

Meaning = Callable[[report_pb2.Report, str, datetime, str], bool]


class Absent(Exception):
    """A condition reads what the report does not hold: that is an error, and not false."""


def there(message: Any, name: str) -> Any:
    """The value of a field that must be set."""
    presence = message.DESCRIPTOR.fields_by_name[name].has_presence
    if not (message.HasField(name) if presence else getattr(message, name)):
        raise Absent(name)
    return getattr(message, name)


CONDITIONS: dict[str, Meaning] = {
    "true": lambda report, partner, now, posture: True,
    "false": lambda report, partner, now, posture: False,
    'report.threat.launch_country == "PRK"': lambda report, *_: there(report.threat, "launch_country") == "PRK",
    "'X' in report.marking.caveats": lambda report, *_: "X" in report.marking.caveats,
    "has(report.track) && report.track.quality > 5u": lambda report, *_: (
        report.HasField("track") and there(report.track, "quality") > 5
    ),
    "report.marking.classification >= Classification.CLASSIFICATION_SECRET": lambda report, *_: (
        report.marking.classification >= 4
    ),
    "1 / size(report.references) >= 0": lambda report, *_: 1 // len(report.references) >= 0,
    'posture == "ROUTINE" || partner == "USA"': lambda report, partner, now, posture: (
        posture == "ROUTINE" or partner == "USA"
    ),
    'now < timestamp("2024-01-01T00:00:00Z")': lambda report, partner, now, posture: now < TIMES[1],
    "1 / size(report.references) > 5 || true": lambda report, *_: 1 // len(report.references) > 5 or True,
    "size(report.references) == 0 || 1 / size(report.references) > 0": lambda report, *_: (
        len(report.references) == 0 or 1 // len(report.references) > 0
    ),
}

EQUIVALENT = {"KOR": {2: 3, 4: 4}}
"""What a marking by KOR's policy counts as here: RESTRICTED as CONFIDENTIAL, SECRET as SECRET, nothing else."""

ACCEPTED = datetime(2023, 12, 31, 23, 59, tzinfo=UTC)


@dataclass(frozen=True)
class Written:
    """A rule as it is written."""

    name: str
    effect: str
    kinds: list[str]
    traffic_classes: list[str]
    ceiling: str
    agreement: str | None
    posture: list[str] | None
    when: str | None
    fields: list[str]
    originators: list[str] | None
    hold_s: int | None

    def lines(self) -> list[str]:
        lines = [
            f"  - name: {self.name}",
            f"    effect: {self.effect}",
            "    reason: Because",
            f"    kinds: [{', '.join(self.kinds)}]",
            f"    traffic_classes: [{', '.join(self.traffic_classes)}]",
        ]
        if self.posture is not None:
            lines.append(f"    posture: [{', '.join(self.posture)}]")
        if self.originators is not None:
            lines.append(f"    originators: [{', '.join(self.originators)}]")
        if self.agreement is not None:
            lines.append(f"    agreement: {self.agreement}")
        if self.when is not None:
            lines += ["    when: |", f"      {self.when}"]
        if self.effect == "release":
            lines += [f"    ceiling: {self.ceiling}", f"    fields: [{', '.join(self.fields)}]"]
            lines += [f"    hold_s: {self.hold_s}"] if self.hold_s is not None else []
        return lines


def some_of(words: tuple[str, ...]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(words), min_size=1, unique=True)


WRITTEN = st.builds(
    Written,
    name=st.just(""),
    effect=st.sampled_from(["release", "release", "withhold"]),
    kinds=some_of(KINDS),
    traffic_classes=some_of(CLASSES),
    ceiling=st.sampled_from(LEVELS),
    agreement=st.sampled_from([None, "past", "now"]),
    posture=st.none() | some_of(POSTURES),
    when=st.none() | st.sampled_from(sorted(CONDITIONS)),
    fields=st.lists(st.sampled_from([*BUILT_IN, *LEAVES]), min_size=1, max_size=12, unique=True),
    originators=st.sampled_from([None, None, ["USA"], ["JPN", "USA"]]),
    hold_s=st.sampled_from([None, None, 60, 10**6]),
)

RULES = st.lists(WRITTEN, max_size=6).map(
    lambda rules: [Written(**{**vars(rule), "name": f"rule-{number}"}) for number, rule in enumerate(rules)]
)

IDENTIFIERS = st.integers(1, 4).map(reports.report_id)
MAKERS: list[Callable[[report_pb2.Report], report_pb2.Report]] = [
    reports.launch,
    reports.track,
    reports.impact,
    lambda report: reports.correction([reports.report_id(1), reports.report_id(2)], reports.report_id(3), report),
    lambda report: reports.cancellation([reports.report_id(2), reports.report_id(4)], report),
    reports.all_clear,
    lambda report: report,
]


TRAFFIC = [*report_pb2.TrafficClass.values(), report_pb2.TRAFFIC_CLASS_LIVE, report_pb2.TRAFFIC_CLASS_LIVE]


@st.composite
def any_report(draw: st.DrawFn) -> report_pb2.Report:
    node = draw(st.sampled_from(["JPN"] * 4 + ["KOR", "USA", "USA"]))
    report = draw(st.sampled_from(MAKERS))(
        reports.envelope(
            node=node,
            releasable_to=draw(st.sampled_from([["KOR"], ["GBR", "KOR", "USA"], ["GBR", "KOR"], ["USA"]])),
            traffic_class=draw(st.sampled_from(TRAFFIC)),
            classification=draw(st.sampled_from(report_pb2.Classification.values())),
            launch_country=draw(st.sampled_from(["PRK", "RUS"])),
            caveats=draw(st.sampled_from([[], ["X"]])),
        )
    )
    report.marking.policy = draw(st.sampled_from(["JPN"] * 4 + ["KOR", "USA"]))
    report.marking.onward_release.extend(draw(st.sampled_from([[], ["KOR"], ["GBR", "KOR", "USA"]])))
    for node, identifier in draw(st.lists(st.tuples(st.sampled_from(NODES), IDENTIFIERS), max_size=2)):
        report.references.add(originator_node=node, report_id=identifier, relation=1)
    for path in draw(st.lists(st.sampled_from(LEAVES), max_size=8)):
        if path not in ALWAYS_RELEASED and not path.startswith("marking.") and "corners" not in path:
            clear_at(report, path)
    return report


def clear_at(message: Any, path: str) -> None:
    head, _, rest = path.partition(".")
    if not rest:
        message.ClearField(head)
    elif message.DESCRIPTOR.fields_by_name[head].is_repeated:
        for element in getattr(message, head):
            clear_at(element, rest)
    elif message.HasField(head):
        clear_at(getattr(message, head), rest)


def slow_decide(
    policies: dict[str, list[Written]], report: report_pb2.Report, partner: str, circumstances: Circumstances
) -> tuple[str, str, list[str]]:
    """Outcome, rule and fields, read off docs/policy.md."""
    now, posture, trusted = circumstances.now, circumstances.posture, circumstances.clock_trusted
    if partner in circumstances.suspended:
        return "withheld", "(partner suspended)", []
    if partner not in policies:
        return "withheld", "(partner has no policy)", []
    if report.originator_node == "JPN" and partner not in report.marking.releasable_to:
        return "withheld", "(not releasable by its marking)", []
    if report.originator_node == partner:
        return "withheld", "(originated there)", []
    if report.originator_node != "JPN" and partner not in report.marking.onward_release:
        return "withheld", "(onward release not allowed by its originator)", []
    content = report.WhichOneof("content")
    if content is None or report.traffic_class == 0 or report.marking.classification == 0:
        return "withheld", "(policy error)", []
    kind = type(getattr(report, content)).DESCRIPTOR.name
    applicable = [
        rule
        for rule in policies[partner]
        if kind in rule.kinds
        and CLASSES[report.traffic_class - 1] in rule.traffic_classes
        and (
            report.originator_node in (rule.originators or ["JPN"])
            or (rule.effect, rule.originators) == ("withhold", None)
        )
    ]
    matching = []
    for rule in applicable:
        if rule.when is not None and "now" in rule.when and not trusted:
            return "withheld", "(policy error)", []
        try:
            holds = rule.when is None or CONDITIONS[rule.when](report, partner, now, posture)
        except (ZeroDivisionError, Absent):
            return "withheld", "(policy error)", []
        if holds and (rule.posture is None or posture in rule.posture):
            matching.append(rule)
    for rule in matching:
        if rule.effect == "withhold":
            return "withheld", rule.name, []
    level = int(report.marking.classification)
    if report.marking.policy != "JPN":
        level = EQUIVALENT.get(report.marking.policy, {}).get(level, 0)
    reasons = []
    for rule in matching:
        if rule.agreement is not None and not (
            trusted and AGREEMENTS[rule.agreement][0] <= now < AGREEMENTS[rule.agreement][1]
        ):
            reasons.append("(agreement lapsed)")
        elif level == 0:
            reasons.append("(no equivalent classification)")
        elif LEVELS.index(rule.ceiling) + 1 < level:
            reasons.append("(above the ceiling)")
        elif rule.hold_s is not None and not (trusted and now >= ACCEPTED + timedelta(seconds=rule.hold_s)):
            return "held", rule.name, []
        else:
            return "released", rule.name, [path for entry in rule.fields for path in BUILT_IN.get(entry, (entry,))]
    for reason in ("(agreement lapsed)", "(no equivalent classification)", "(above the ceiling)"):
        if reason in reasons:
            return "withheld", reason, []
    return "withheld", "(no rule releases it)", []


def only(message: Any, paths: set[str], prefix: str = "") -> Any:
    """A new message with the fields that are set and named, and the messages that still hold some."""
    made = type(message)()
    for field, value in message.ListFields():
        path = prefix + field.name
        into = getattr(made, field.name)
        if path in paths:
            if field.is_repeated:
                into.extend(value)
            elif field.message_type is not None:
                into.CopyFrom(value)
            else:
                setattr(made, field.name, value)
        elif field.message_type is None or field.message_type.full_name.startswith("google.protobuf"):
            continue
        elif field.is_repeated:
            in_full = all(leaf in paths for leaf in LEAVES if leaf.startswith(path + "."))
            parts = [only(element, paths, path + ".") for element in value]
            into.extend(part for part in parts if in_full or part.ByteSize())
        else:
            part = only(value, paths, path + ".")
            in_full = all(leaf in paths for leaf in LEAVES if leaf.startswith(path + "."))
            if part.ByteSize() or in_full or path in CONTENTS:
                into.SetInParent()
                into.CopyFrom(part)
    return made


CONTENTS = [field.name for field in report_pb2.Report.DESCRIPTOR.oneofs_by_name["content"].fields]


def slow_transform(
    report: report_pb2.Report, paths: list[str], partner: str, had: set[tuple[str, str]]
) -> report_pb2.Report | None:
    """The copy, built up field by field; None where it is withheld after all."""

    def has(node: str, identifier: str) -> bool:
        return node == partner or (node, identifier) in had

    source = report_pb2.Report()
    source.CopyFrom(report)
    kept = [item for item in report.references if has(item.originator_node, item.report_id)]
    source.ClearField("references")
    source.references.extend(kept)
    for recall in (source.correction, source.cancellation):
        recall_ids = [identifier for identifier in recall.report_ids if has(report.originator_node, identifier)]
        if source.WhichOneof("content") == type(recall).__name__.lower():
            if not recall_ids:
                return None
            recall.report_ids[:] = recall_ids
    if source.HasField("correction") and not has(report.originator_node, source.correction.replacement_report_id):
        source.correction.replacement_report_id = ""
    copy = only(source, {*paths, *ALWAYS_RELEASED})
    assert isinstance(copy, report_pb2.Report)
    return copy


def files_of(policies: dict[str, list[Written]]) -> dict[str, bytes]:
    policy = ["node: JPN", "posture: ROUTINE", "agreements:"]
    for name, (start, end) in AGREEMENTS.items():
        policy += [f"  {name}:", "    title: T", "    basis: B", "    parties: [GBR, JPN, KOR]"]
        policy += [f"    from: {start:%Y-%m-%d}", f"    until: {end:%Y-%m-%d}", f"    kinds: [{', '.join(KINDS)}]"]
    policy += ["equivalences:", "  KOR: {RESTRICTED: CONFIDENTIAL, SECRET: SECRET}"]
    files = {"policy.yaml": "\n".join(policy).encode()}
    for partner, rules in policies.items():
        lines = [f"partner: {partner}", "rules:" if rules else "rules: []"]
        lines += [line for rule in rules for line in rule.lines()]
        files[f"partners/{partner}.yaml"] = "\n".join(lines).encode()
    return files


CIRCUMSTANCES = st.builds(
    Circumstances,
    now=st.sampled_from(TIMES),
    posture=st.sampled_from(POSTURES),
    accepted=st.just(ACCEPTED),
    clock_trusted=st.sampled_from([True, True, True, False]),
    suspended=st.sampled_from([frozenset(), frozenset(), frozenset(), frozenset({"KOR"}), frozenset({"USA"})]),
)


PARTNERS = st.lists(st.sampled_from(["KOR"] * 4 + ["GBR"] * 4 + ["USA"]), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    rules=RULES,
    others=RULES,
    shared=st.sets(st.integers(0, 5)),
    some=st.lists(st.tuples(any_report(), PARTNERS, CIRCUMSTANCES), min_size=1, max_size=8),
    had=st.sets(st.tuples(st.sampled_from(NODES), IDENTIFIERS)),
)
def test_compiled_and_slow_come_to_the_same(
    rules: list[Written],
    others: list[Written],
    shared: set[int],
    some: list[tuple[report_pb2.Report, list[str], Circumstances]],
    had: set[tuple[str, str]],
) -> None:
    """Of two partners, who have some rules in common; whoever is asked for first, and whoever before."""
    common = [Written(**{**vars(rule), "name": f"also-{rule.name}"}) for at, rule in enumerate(rules) if at in shared]
    policies = {"KOR": rules, "GBR": [*common, *others]}
    try:
        bundle = compile_bundle(files_of(policies))
    except PolicyError as error:
        # Two rules that release the same are refused; anything else is not.
        assume(all("never decides" not in problem.what for problem in error.problems))
        raise
    for report, partners, circumstances in some:
        asking = bundle.ask(report, circumstances)
        for partner in partners:
            decision = asking.decide(partner)
            assert decision == bundle.decide(report, partner, circumstances)
            outcome, rule, paths = slow_decide(policies, report, partner, circumstances)
            assert (decision.outcome, decision.rule) == (outcome, rule)
            if decision.outcome is not Outcome.RELEASED:
                continue
            expected = slow_transform(report, paths, partner, had)
            narrowed = bundle.narrow(report, decision, lambda *named: named in had)
            assert (narrowed.outcome is Outcome.RELEASED) is (expected is not None)
            if expected is not None:
                copy = bundle.transform(report, narrowed, lambda *named: named in had)
                assert copy == expected
                assert copy.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
