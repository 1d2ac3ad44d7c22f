"""What a decision costs beside one bare CEL evaluation of the condition that matched, and how long policies load.

Run from the top of the repository: ``PYTHONPATH=.:proto python bench/decisions.py``. The two that are compared are
timed in turns, in one run, so that a busy machine slows both; the ratio is the median over the rounds. The bare
evaluation is what nobody can do without: the report bound to a CEL activation, and one condition evaluated on it
through the same library.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice

from cel_expr_python import cel
from signalfire.v1 import report_pb2

from policy import Bundle, Circumstances, Kind, compile_bundle
from policy.countries import NODE_CODES
from policy.specimen import specimen

SHARED = """\
node: JPN
posture: ROUTINE
field_sets:
  warning: [envelope@1, threat@1, launch@1, track@1, impact@1, recall@1]
"""
NOW = datetime(2024, 6, 1, tzinfo=UTC)
ROUNDS = 41
CALLS = 500


def rule(number: int, kind: str) -> str:
    """One rule of a policy as officers write them: some withhold by caveat or place, most release in part."""
    lines = [f"  - name: rule-{number}", "    reason: a benchmark"]
    lines += [f"    kinds: [{kind}]", "    traffic_classes: [LIVE]"]
    match number % 3:
        case 0:
            lines += ["    effect: withhold", f"    when: '\"CAVEAT-{number}\" in report.marking.caveats'"]
        case 1:
            lines += ["    effect: withhold", f'    when: report.event_id.startsWith("sea-trial-{number}-")']
        case _:
            lines += ["    effect: release", "    ceiling: SECRET", "    fields: [warning]", "    when: |"]
            lines += [f'      report.threat.launch_country == "PRK" && report.event_id == "event-{number}"']
    return "\n".join(lines) + "\n"


MATCHING = (
    'report.threat.launch_country == "PRK" && report.marking.classification <= Classification.CLASSIFICATION_SECRET'
)
LAST = f"""\
  - name: the-rule-that-releases
    effect: release
    reason: a benchmark
    kinds: [Track]
    traffic_classes: [LIVE]
    ceiling: SECRET
    fields: [warning]
    when: {MATCHING}
"""


def policy_of(kinds: dict[str, int]) -> Bundle:
    """A policy of so many rules a kind, one for Tracks that releases among them."""
    numbers = iter(range(10_000))
    rules = "".join(rule(next(numbers), kind) for kind, count in kinds.items() for _ in range(count))
    return compile_bundle(
        {"policy.yaml": SHARED.encode(), "partners/KOR.yaml": f"partner: KOR\nrules:\n{rules}{LAST}".encode()}
    )


def track() -> report_pb2.Report:
    """A Track that the last rule releases."""
    report = specimen(Kind.TRACK, node="JPN", partner="KOR", now=NOW)
    report.threat.launch_country = "PRK"
    report.traffic_class = report_pb2.TRAFFIC_CLASS_LIVE
    return report


def timed(step: Callable[[], object]) -> float:
    """Microseconds a call."""
    began = time.perf_counter()
    for _ in range(CALLS):
        step()
    return (time.perf_counter() - began) / CALLS * 1e6


def compare(name: str, bundle: Bundle) -> None:
    """Prints what a decision costs beside the bare evaluation."""
    report, circumstances = track(), Circumstances(NOW, "ROUTINE")
    decided = bundle.decide(report, "KOR", circumstances)
    if decided.rule != "the-rule-that-releases":
        sys.exit(f"{name}: the decision is {decided.outcome}: {decided.rule} {decided.error}")
    variables = {"report": cel.Type("signalfire.v1.Report"), "partner": cel.Type.STRING}
    variables |= {"now": cel.Type.TIMESTAMP, "posture": cel.Type.STRING}
    environment = cel.NewEnv(report_pb2.DESCRIPTOR.pool, variables=variables, container="signalfire.v1")
    expression = environment.compile(MATCHING)

    def bare() -> object:
        facts = environment.Activation({"report": report, "partner": "KOR", "now": NOW, "posture": "ROUTINE"})
        return expression.eval(facts).value()

    def decide() -> object:
        return bundle.decide(report, "KOR", circumstances)

    if bare() is not True:
        sys.exit(f"{name}: the bare evaluation does not hold")
    rounds = [(timed(bare), timed(decide)) for _ in range(ROUNDS)]
    ratio = statistics.median(whole / alone for alone, whole in rounds)
    alone, whole = (statistics.median(column) for column in zip(*rounds, strict=True))
    asked = len(decided.traces)
    print(f"{name:<58} {asked:>3} asked   bare {alone:5.1f} us   decision {whole:6.1f} us   ratio {ratio:4.2f}")


def load(partners: int, rules: int) -> None:
    """Prints how long a policy of so many partners loads."""
    codes = [code for code in islice(sorted(NODE_CODES), partners + 1) if code != "JPN"][:partners]
    kinds = [kind.value for kind in Kind]
    body = "rules:\n" + "".join(rule(number, kinds[number % len(kinds)]) for number in range(rules))
    files = {f"partners/{code}.yaml": f"partner: {code}\n{body}".encode() for code in codes}
    began = time.perf_counter()
    compile_bundle({"policy.yaml": SHARED.encode(), **files})
    print(f"{partners} partners of {rules} rules each load in {time.perf_counter() - began:.2f} s")


def main() -> None:
    """Measures everything."""
    others = [kind.value for kind in Kind if kind is not Kind.TRACK]
    compare("50 rules, spread over the six kinds", policy_of({"Track": 8, **dict.fromkeys(others, 8)}))
    compare("50 rules, half of them for Tracks", policy_of({"Track": 24, **dict.fromkeys(others, 5)}))
    compare("50 rules, all of them for Tracks", policy_of({"Track": 49}))
    compare("9 rules for Tracks and none for other kinds", policy_of({"Track": 8}))
    compare("9 rules for Tracks and 900 for other kinds", policy_of({"Track": 8, **dict.fromkeys(others, 180)}))
    for partners, rules in ((200, 10), (200, 50)):
        load(partners, rules)


if __name__ == "__main__":
    main()
