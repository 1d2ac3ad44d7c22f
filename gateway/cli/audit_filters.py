"""The options that say which decisions are wanted, and the filter that they make."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.reports.kinds import Kind

_AGO: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A time: RFC 3339, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time in UTC. Raises BadParameter."""
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        if ago is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            self.fail(
                f"{value!r} is no time; give one such as 2h, 3d or 2026-11-21T05:00:00Z, zone included", param, ctx
            )
        return found.astimezone(UTC)


def _words(enum: Any, prefix: str, *, lower: bool = False) -> click.Choice[str]:
    names = [name.removeprefix(prefix) for name, value in enum.items() if value]
    return click.Choice([name.lower() if lower else name for name in names])


EVENT_KINDS: Final = (
    "started", "roster-pinned", "policy-activated", "partner-suspended", "partner-resumed", "posture-declared",
    "route-changed", "carrying-changed",
    "roster-replaced", "posture-over", "order-refused", "audit-access", "withdrawals-kept-back", "entries-kept-back",
    "after-all-clear",
    "pruned", "clock-declared-right", "pruning-resumed", "pruning-waits", "bundle-taken-up", "root-replaced",
    "keys-switched", "ledger-succeeded", "decisions-set-back", "reconciled", "fork-evidence",
    "store-set-back", "given-back", "records-rebuilt", "report-filled-in", "resubmission-finished",
    "recalled-while-lost", "recalled-by-time", "event-not-known", "passing-on-put-off", "passing-on-failed",
)  # fmt: skip
"""Every kind of event that a gateway records, as docs/officer.md lists them."""

_TIMES: Final = (
    click.option("--since", type=Moment(), metavar="TIME", help="At or after: 2h (ago), 3d, or RFC 3339."),
    click.option("--until", type=Moment(), metavar="TIME", help="Before: 2h (ago), 3d, or RFC 3339."),
)

_OPTIONS: Final = (
    click.option("--partner", "partners", multiple=True, metavar="NODE", help="For this partner, such as KOR."),
    click.option(
        "--outcome", "outcomes", multiple=True, type=_words(ledger_pb2.Outcome, "OUTCOME_", lower=True),
        help="With this outcome.",
    ),
    click.option("--rule", "rules", multiple=True, metavar="NAME", help="By this rule, or built-in reason in quotes."),
    click.option(
        "--kind", "kinds", multiple=True, type=click.Choice([kind.value for kind in Kind]),
        help="About reports of this kind.",
    ),
    click.option(
        "--class", "classes", multiple=True, type=_words(report_pb2.TrafficClass, "TRAFFIC_CLASS_"),
        help="About reports of this traffic class.",
    ),
    click.option(
        "--precedence", "precedences", multiple=True, type=_words(report_pb2.Precedence, "PRECEDENCE_"),
        help="About reports of this precedence.",
    ),
    click.option("--agreement", "agreements", multiple=True, metavar="NAME", help="Citing this agreement."),
    click.option("--event", "event_id", default="", metavar="ID", help="About this event."),
    click.option("--report", "report_id", default="", metavar="UUID", help="About this report."),
    click.option("--originator", "originator_node", default="", metavar="NODE", help="About reports of this node."),
    click.option("--events", is_flag=True, help="Events of the gateway instead of decisions: orders, evidence, looks."),
    click.option(
        "--event-kind", "event_kinds", multiple=True, metavar="KIND", type=click.Choice(EVENT_KINDS),
        help="Events of this kind alone.",
    ),
)  # fmt: skip

_NAMES: Final = (
    "since", "until", "partners", "outcomes", "rules", "kinds", "classes", "precedences", "agreements", "event_id",
    "report_id", "originator_node", "events", "event_kinds",
)  # fmt: skip


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options; the command is given `wanted`, the filter that they make, or None where none was given."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _NAMES}
        return command(*args, wanted=filter_of(**given), **kwargs)

    wrapped.__doc__ = command.__doc__
    wrapped.__name__ = command.__name__
    # What another decorator added before stays.
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    with_options: Callable[..., Any] = wrapped
    for option in reversed((*_TIMES, *_OPTIONS)):
        with_options = option(with_options)
    return with_options


def filter_of(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    outcomes: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
    precedences: tuple[str, ...] = (),
    **texts: Any,
) -> officer_pb2.DecisionFilter | None:
    """The filter; None where nothing narrows it."""
    if texts.get("event_kinds"):
        texts["events"] = True
    wanted = officer_pb2.DecisionFilter(
        outcomes=[ledger_pb2.Outcome.Value(f"OUTCOME_{name.upper()}") for name in outcomes],
        traffic_classes=[report_pb2.TrafficClass.Value(f"TRAFFIC_CLASS_{name}") for name in classes],
        precedences=[report_pb2.Precedence.Value(f"PRECEDENCE_{name}") for name in precedences],
        **texts,
    )
    if since is not None:
        wanted.since.FromDatetime(since)
    if until is not None:
        wanted.until.FromDatetime(until)
    return wanted if wanted.ListFields() else None
