"""What `signalfire demo` shows: who knows what, what was withheld by which rule, and what the ledgers hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from gateway.audit.ledger_check import LedgerCheck
from gateway.audit.verify import Verification
from gateway.demo.play import Replay
from gateway.demo.tally import Tally

HEADINGS = {"launch_detection": "detections", "track": "tracks", "impact_prediction": "impacts"}
"""The kinds of report that have a column of their own."""


def picture(replay: Replay) -> RenderableType:
    """How far the replay is, and what every nation knows."""
    bar = Progress(TextColumn(replay.scenario.name), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    bar.add_task("", total=100, completed=round(100 * replay.progress))
    return Group(bar, knowledge(replay.tally, {node: each.running for node, each in replay.gateways.items()}))


def knowledge(tally: Tally, up: Mapping[str, bool]) -> Table:
    """What each nation's C2 system has from each partner, what was withheld from it, and how fast it came."""
    table = Table("nation", "pushed", "has from", *HEADINGS.values(), "other", "withdrawn", box=box.SIMPLE_HEAD)
    # A rule's name is one long word: broken where it must be, rather than cut.
    table.add_column("withheld, by rule", overflow="fold")
    table.add_column("latency, ms")
    for node in up:
        table.add_section()
        for place, origin in enumerate(other for other in up if other != node):
            known = tally.known.get((node, origin), Counter())
            recalled = sum(count for (n, o, _), count in tally.withdrawals.items() if (n, o) == (node, origin))
            measured = tally.latency_ms(origin, node)
            table.add_row(
                *_of_nation(node, up[node], tally.pushed.get(node, 0), first=place == 0),
                origin,
                *(str(known[kind]) for kind in HEADINGS),
                str(known.total() - sum(known[kind] for kind in HEADINGS)),
                str(recalled),
                "\n".join(f"{count} {rule}" for rule, count in sorted(withheld_by_rule(tally, origin, node))),
                "" if measured is None else f"{measured[0]:.0f} / {measured[1]:,.0f}",
            )
    return table


def _of_nation(node: str, running: bool, pushed: int, *, first: bool) -> tuple[Text, str]:
    if not first:
        return Text(), ""
    return Text(node) if running else Text(f"{node} DOWN", "red"), str(pushed)


def withheld_by_rule(tally: Tally, origin: str, partner: str) -> Iterator[tuple[str, int]]:
    """The rules by which `origin` withheld reports from `partner`, and how many each."""
    for (node, other, rule), count in tally.withheld.items():
        if (node, other) == (origin, partner):
            yield rule, count


def summary(tally: Tally, nodes: Sequence[str]) -> Table:
    """What went from each nation to each partner."""
    table = Table("from", "pushed", "accepted", "to", "released", "received", "as a hash", "withheld", "withdrawals",
                  "latency, ms")  # fmt: skip
    not_received = list(tally.not_received())
    for origin in nodes:
        table.add_section()
        accepted = sum(1 for node, _ in tally.accepted if node == origin)
        for recipient in nodes:
            if recipient == origin:
                continue
            decisions = [each for (o, _, p), each in tally.decisions.items() if (o, p) == (origin, recipient)]
            released = sum(bool(each.ledger) for each in decisions)
            received = sum(count for (n, o, _), count in tally.received.items() if (n, o) == (recipient, origin))
            recalled = sum(count for (n, o, _), count in tally.withdrawals.items() if (n, o) == (recipient, origin))
            measured = tally.latency_ms(origin, recipient)
            table.add_row(
                origin, str(tally.pushed.get(origin, 0)), str(accepted), recipient, str(released), str(received),
                str(sum((o, p) == (origin, recipient) for o, _, p in not_received)),
                str(len(decisions) - released), str(recalled),
                "" if measured is None else f"{measured[0]:.0f} / {measured[1]:,.0f}",
            )  # fmt: skip
    return table


def ledgers(outcomes: Mapping[str, Verification]) -> Table:
    """Every ledger, and how far its replica, receipt and post-quantum line reach."""
    table = Table("ledger", "entries", "replica", "receipt to", "post-quantum to")
    for own, replica in pairs(outcomes):
        table.add_row(
            str(own.origin), str(own.size), "" if replica is None else str(replica.size),
            "" if own.origin.recipient is None else str(own.receipt_size), str(own.pq_size),
        )  # fmt: skip
    return table


def pairs(outcomes: Mapping[str, Verification]) -> Iterator[tuple[LedgerCheck, LedgerCheck | None]]:
    """Every ledger as its owner holds it, and as its recipient does."""
    found = {(node, str(check.origin)): check for node, outcome in outcomes.items() for check in outcome.ledgers}
    for (_, origin), check in sorted(found.items(), key=lambda item: item[0][1]):
        if not check.replica:
            yield check, found.get((check.origin.recipient or "", origin))
