"""`signalfire policy` test, explain, diff and prove: what a policy does with reports."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, Final

import click
from rich.markup import escape

import policy as language
from gateway.cli.bundles import DIRECTORY, cases_of, load
from gateway.cli.policy_tables import as_json, show_comparison, show_explanation, show_results
from gateway.cli.protection import unlocking_options
from gateway.cli.recorded import name_of, report_of, reports_of_lines, reports_of_store
from gateway.cli.terminal import console
from gateway.identity.locked import KeyLock, Unwrapper
from policy import prove as proofs
from policy.cases import Case
from policy.decision import Circumstances
from policy.explain import Explanation, explain
from policy.prove import Loosening, Status
from policy.recorded import compare_recorded
from policy.testing import Results, junit, run
from policy.values import time_of
from policy.vocabulary import Posture


class _Time(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return time_of(str(value))
        except ValueError:
            self.fail(f"{value} is not a time with its zone, e.g. 2024-06-01T12:00:00Z", param, ctx)


_posture = click.option(
    "--posture",
    type=click.Choice([str(posture) for posture in Posture]),
    help="The posture in force. Default: the one that the policy declares.",
)
_json = click.option("--json", "as_json_text", is_flag=True, help="Print one JSON object.")


@click.command()
@click.option(
    "--junit", "report", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write JUnit XML."
)
@click.option("--require-coverage", is_flag=True, help="Fail where a rule is not covered by the cases.")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
def test(directory: Path, report: Path | None, require_coverage: bool) -> None:
    """Run the cases of cases/*.yaml and say which rules they show.

    A rule is covered where it decides in some case and, if it has a condition, where that does not hold in another.
    A case that fails is told with what was expected, what came, and why.

    \b
    Exit code 0: every case passes (and every rule is covered, if that is asked for); 1: not so.
    Example: signalfire policy test jpn-policy --require-coverage --junit policy-tests.xml
    """
    bundle = load(directory)
    cases = cases_of(directory, bundle)
    results = run(bundle, cases)
    if report is not None:
        report.write_bytes(junit(results, str(directory)))
    out = console()
    for result in results.results:
        if result.passed:
            continue
        out.print(f"[bold red]fails[/] {escape(f'{directory}/{result.case}')}")
        for failure in result.failures:
            out.print(f"  {escape(failure)}", soft_wrap=True)
        show_explanation(out, _explained(bundle, result.case))
        out.print()
    show_results(out, results)
    if not cases:
        raise click.ClickException(f"{directory} has no cases: write some into {directory}/cases/<name>.yaml")
    if not results.passed or (require_coverage and results.covered < 1):
        _say_what_lacks(results)
        sys.exit(1)


def _say_what_lacks(results: Results) -> None:
    failed = sum(not result.passed for result in results.results)
    uncovered = sum(bool(rule.missing) for rule in results.coverage)
    lacking = []
    if failed:
        lacking.append("1 case fails" if failed == 1 else f"{failed} cases fail")
    if uncovered:
        lacking.append("1 rule is not covered" if uncovered == 1 else f"{uncovered} rules are not covered")
    click.echo(", ".join(lacking), err=True)


def _explained(bundle: language.Bundle, case: Case) -> Explanation:
    return explain(bundle, case.report, case.partner, case.circumstances, case.was_released)


@click.command(name="explain")
@click.option("--partner", required=True, metavar="CODE", help="The partner about whom is asked, such as KOR.")
@_posture
@click.option("--at", type=_Time(), help="The time of the decision. Default: the report's own report_time.")
@click.option("--accepted", type=_Time(), help="When the report was accepted; holds count from there. Default: --at.")
@click.option("--untrusted-clock", is_flag=True, help="As while the gateway's clock is not synchronised.")
@click.option("--suspended", is_flag=True, help="As while the partner is suspended.")
@click.option(
    "--had", multiple=True, metavar="NODE/ID", help="An earlier report that the partner has; may be repeated."
)
@click.option("--had-all", is_flag=True, help="The partner has every earlier report that this one names.")
@_json
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.argument("report", metavar="REPORT.json", type=click.File("rb"))
def explain_command(
    directory: Path,
    report: IO[bytes],
    partner: str,
    posture: str | None,
    at: datetime | None,
    accepted: datetime | None,
    untrusted_clock: bool,
    suspended: bool,
    had: tuple[str, ...],
    had_all: bool,
    as_json_text: bool,
) -> None:
    """Say why a report goes to a partner or stays: each rule, down to the part of its condition that failed, and each
    field, with what became of it.

    REPORT.json holds one Report of report.proto in protobuf's JSON form; - is standard input.

    \b
    Exit code 0: it is explained, whatever was decided; 1: the bundle or the report cannot be read.
    Example: signalfire policy explain jpn-policy report.json --partner KOR --posture HEIGHTENED
    """
    bundle = load(directory)
    asked = report_of(report.read(), name_of(report))
    if at is None and not asked.HasField("report_time"):
        raise click.ClickException("the report has no report_time: say with --at when it is decided")
    named = {tuple(each.split("/", 1)) for each in had}
    if any(len(each) != 2 for each in named):
        raise click.UsageError("--had takes NODE/ID, e.g. JPN/0190a5b2-0000-7000-8000-000000000001.")
    circumstances = Circumstances(
        at or time_of(asked.report_time.ToJsonString()),
        posture or bundle.posture,
        accepted=accepted,
        clock_trusted=not untrusted_clock,
        suspended=frozenset({partner} if suspended else ()),
    )
    explanation = explain(bundle, asked, partner, circumstances, lambda *which: had_all or which in named)
    if as_json_text:
        click.echo(json.dumps(explanation.as_dict(), indent=2, ensure_ascii=False))
    else:
        show_explanation(console(), explanation)


@click.command()
@click.option("--traffic", metavar="FILE", type=click.File("rb"), help="Recorded reports, one JSON object a line.")
@click.option(
    "--store",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A gateway's store: the reports that it accepted.",
)
@click.option("--keys", metavar="DIR", type=DIRECTORY, help="The node's keys, to open what a store holds.")
@unlocking_options
@click.option("--partner", "partners", multiple=True, metavar="CODE", help="Only this partner; may be repeated.")
@_posture
@click.option("--no-proof", is_flag=True, help="Leave the proof out.")
@_json
@click.argument("old", metavar="OLD", type=DIRECTORY)
@click.argument("new", metavar="NEW", type=DIRECTORY)
def diff(
    old: Path,
    new: Path,
    traffic: IO[bytes] | None,
    store: Path | None,
    keys: Path | None,
    partners: tuple[str, ...],
    posture: str | None,
    no_proof: bool,
    as_json_text: bool,
    unwrapper_of: Callable[[Path], Unwrapper | None],
) -> None:
    """Say what the bundle NEW would change: on recorded reports, and for all valid reports by proof.

    Recorded reports come from --traffic, or from --store with --keys. Each is decided as at its own report time. The
    proof says of each partner that NEW releases nothing to it that OLD did not, or shows a report that it now does.

    \b
    Exit code 0: nothing changes on the recorded reports, and NEW is proved to loosen nothing; 1: not so.
    Examples: signalfire policy diff jpn-policy jpn-policy-new --traffic reports.jsonl
              signalfire policy diff jpn-policy jpn-policy-new --store jpn/store.db --keys jpn/keys --partner KOR
    """
    if (store is None) is not (keys is None) or (store is not None and traffic is not None):
        raise click.UsageError("Give --traffic, or --store with --keys, or neither.")
    before, after = load(old), load(new)
    chosen = partners or tuple(sorted({*before.partners, *after.partners}))
    told: dict[str, object] = {}
    out = console()
    changed = False
    reports = None
    if traffic is not None:
        reports = reports_of_lines(traffic)
    elif store is not None and keys is not None:
        reports = reports_of_store(store, KeyLock(keys, unwrapper_of(keys)))
    if reports is not None:
        level = None if posture is None else Posture(posture)
        comparison = compare_recorded(before, after, reports, chosen, level)
        changed = bool(comparison.changes)
        told["reports"] = comparison.reports
        told["changes"] = [change.as_dict() for change in comparison.changes]
        if not as_json_text:
            show_comparison(out, comparison)
    if not no_proof:
        loosened = proofs.loosens(before, after, partners or None)
        changed = changed or bool(loosened)
        told["loosened"] = [_loosening_as_dict(found) for found in loosened]
        if not as_json_text:
            for partner in (*chosen, ""):
                _show_loosened(partner, [found for found in loosened if found.partner == partner])
    if as_json_text:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    if changed:
        sys.exit(1)


def _show_loosened(partner: str, loosened: list[Loosening]) -> None:
    if not loosened and partner:
        click.echo(f"proved: NEW releases nothing to {partner} that OLD did not")
    for found in loosened:
        to = f" to {partner}" if partner else ""
        about = f" ({found.subject})" if found.subject else ""
        rules = (
            f", by {found.rule}" + (f" and before by {found.old_rule}" if found.old_rule else "") if found.rule else ""
        )
        sure = "" if found.status is Status.REFUTED else f" [{found.status}: it could not be proved that it does not]"
        click.echo(f"NEW {found.looser}{to}{about}{rules}{sure}")
        if found.counterexample is not None:
            example = found.counterexample
            click.echo(f"  at {example.now.isoformat()} in posture {example.posture}: {as_json(example.report)}")


def _loosening_as_dict(found: Loosening) -> dict[str, object]:
    example = found.counterexample
    return {
        "partner": found.partner,
        "looser": str(found.looser),
        "status": str(found.status),
        "rule": found.rule,
        "old_rule": found.old_rule,
        "subject": found.subject,
        "kind": None if found.kind is None else str(found.kind),
        "report": None if example is None else json.loads(as_json(example.report)),
        "at": None if example is None else example.now.isoformat(),
        "posture": None if example is None else example.posture,
    }


@click.command()
@_json
@click.argument("directory", metavar="DIR", type=DIRECTORY)
def prove(directory: Path, as_json_text: bool) -> None:
    """Prove each invariant of invariants.yaml for every valid report, in every posture and at every date.

    One that does not hold is shown with a report that breaks it, and with why that report goes. What is neither proved
    nor broken by a report is told as such, and counts as not proved.

    \b
    Exit code 0: every invariant is proved; 1: not so, or there are none.
    Example: signalfire policy prove jpn-policy
    """
    bundle = load(directory)
    verdicts = proofs.prove(bundle)
    out = console()
    told = []
    for verdict in verdicts:
        example = verdict.counterexample
        why = None
        if example is not None:
            why = explain(bundle, example.report, verdict.partner, example.circumstances(), lambda *_: True)
        told.append(
            {
                "invariant": verdict.invariant,
                "partner": verdict.partner,
                "status": str(verdict.status),
                "rule": verdict.rule,
                "report": None if example is None else json.loads(as_json(example.report)),
                "explanation": None if why is None else why.as_dict(),
            }
        )
        if as_json_text:
            continue
        colour = "green" if verdict.status is Status.PROVED else "bold red"
        to = f" ({verdict.partner})" if verdict.partner else ""
        by = f", by the rule {verdict.rule}" if verdict.rule else ""
        out.print(f"[{colour}]{verdict.status}[/] {escape(verdict.invariant)}{to}{escape(by)}")
        if example is not None and why is not None:
            out.print(f"  at {example.now.isoformat()} in posture {example.posture}, this report:")
            click.echo(f"  {as_json(example.report)}")
            show_explanation(out, why)
    proved = sum(verdict.status is Status.PROVED for verdict in verdicts)
    if as_json_text:
        click.echo(json.dumps({"proved": bool(verdicts) and proved == len(verdicts), "verdicts": told}, indent=2))
    elif verdicts:
        out.print(f"{proved} of {len(verdicts)} proved")
    if not verdicts:
        raise click.ClickException(f"{directory} has no invariants: write some into {directory}/invariants.yaml")
    if proved < len(verdicts):
        sys.exit(1)


COMMANDS: Final = (test, explain_command, diff, prove)
"""What the group `policy` has of this module."""
