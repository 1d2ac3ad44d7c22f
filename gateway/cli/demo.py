"""`signalfire demo`: three nations share a real launch, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

import policy
from gateway import config as configuration
from gateway.cli.ledger import verify_configured
from gateway.demo.deployment import Deployed, Gateway, deploy
from gateway.demo.describe import describe
from gateway.demo.errors import DemoError
from gateway.demo.play import Replay
from gateway.demo.scenario import Scenario, load_scenario
from gateway.demo.tally import Tally, utc_now
from gateway.identity.errors import IdentityError
from gateway.ledger.errors import LedgerError
from gateway.officer.verify import Verification
from gateway.seal.errors import SealError

SCENARIOS = Path(__file__).resolve().parents[2] / "ops" / "demo"
DEFAULT_SCENARIO = "2017-09-14-over-japan"
POLICIES = Path(policy.__file__).parent / "examples" / "trilateral"

DURATION_S = 40.0
"""Seconds into which a scenario is fitted, unless it is played in real time."""

MAX_AGE_S = 14 * 86400.0
"""How old a replayed report may be: longer than any scenario."""


@click.command()
@click.option(
    "--scenario",
    default=DEFAULT_SCENARIO,
    show_default=True,
    help="Name of a scenario under ops/demo, or a file in the same format (docs/scenarios.md).",
)
@click.option("--realtime", is_flag=True, help="Play at the tempo of history.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Leave configuration, keys and stores in this new directory."
)
@click.option("--seed", default=1, show_default=True, help="Chance of the sensors' noise.")
@click.option("--victim", default="USA", show_default=True, help="Nation whose gateway is killed halfway.")
def demo(scenario: str, realtime: bool, keep: Path | None, seed: int, victim: str) -> None:
    """Show three nations sharing a real historical launch directly, with no hub.

    Each nation has a gateway process, keys, policy, ledgers and a C2 feed of its own. Each sees the launch with its own
    sensors. Halfway one gateway is killed and later started again. At the end every ledger and receipt is verified.

    \b
    Exit code 0: nothing was lost, doubled or leaked, and everything verifies; 1 otherwise.
    Examples: signalfire demo --scenario 2022-06-05-eight-missiles
              signalfire demo --keep /tmp/three-nations
    """
    console = Console()
    try:
        with _directory(keep) as directory:
            played = load_scenario(_find(scenario))
            console.print(describe(played), highlight=False)
            console.print()
            faults = _play(console, played, directory, None if realtime else DURATION_S, seed, victim)
    except (DemoError, IdentityError, LedgerError, SealError, policy.PolicyError, configuration.ConfigError) as error:
        raise click.ClickException(str(error)) from error
    if faults:
        for fault in faults[:20]:
            console.print(f"[bold red]{fault}[/bold red]")
        raise click.ClickException(f"{len(faults)} faults")
    console.print(
        "[bold green]Nothing was lost, doubled or leaked; every ledger and every receipt verifies.[/bold green]"
    )
    if keep is not None:
        console.print(f"Left behind in {keep}; the README shows what to try on it.")


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="signalfire-demo-") as name:
            yield Path(name)
        return
    if keep.exists() and any(keep.iterdir()):
        raise click.BadParameter(f"{keep} is not empty; name a new directory", param_hint="--keep")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _find(scenario: str) -> Path:
    named = SCENARIOS / f"{scenario}.yaml"
    return named if named.exists() else Path(scenario)


def _play(
    console: Console, scenario: Scenario, directory: Path, duration_s: float | None, seed: int, victim: str
) -> list[str]:
    nodes = sorted(nation.node for nation in scenario.nations)
    missing = [node for node in nodes if not (POLICIES / node.lower()).is_dir()]
    if missing or victim not in nodes:
        raise DemoError(
            f"There is no policy for {', '.join(missing)}" if missing else f"{victim} is not one of {', '.join(nodes)}",
            where=scenario.name,
            mend=f"The demo has policies for {', '.join(sorted(p.name.upper() for p in POLICIES.iterdir()))}.",
        )
    began = time.monotonic()
    deployed = deploy(directory, {node: POLICIES / node.lower() for node in nodes}, now=utc_now(), max_age_s=MAX_AGE_S)
    console.print(f"{len(nodes)} nations set up in {time.monotonic() - began:.1f} s: PKI, policy, configuration\n")
    gateways = {node: Gateway(place) for node, place in deployed.items()}
    replay = Replay(scenario, deployed, gateways, victim)
    try:
        asyncio.run(_show(console, replay, duration_s, seed))
    finally:
        exits = replay.stop()
    faults = [f"the gateway of {node} ended with exit code {code}" for node, code in exits.items() if code]
    faults += replay.tally.faults()
    _summary(console, replay.tally, nodes)
    return faults + _verify(console, deployed)


async def _show(console: Console, replay: Replay, duration_s: float | None, seed: int) -> None:
    """Plays, with a live picture on a terminal and plain lines elsewhere."""
    lines: list[str] = []
    started = time.monotonic()

    def say(text: str) -> None:
        stamped = f"{time.monotonic() - started:6.1f} s  {text}"
        lines.append(stamped)
        if not console.is_terminal:
            console.print(stamped, highlight=False)

    replay.say = say
    playing = asyncio.create_task(replay.run(duration_s=duration_s, seed=seed))
    with Live(console=console, refresh_per_second=5, transient=False) if console.is_terminal else _Silent() as live:
        while not playing.done():
            live.update(_picture(replay, lines))
            await asyncio.wait([playing], timeout=0.25)
        live.update(_picture(replay, lines))
    await playing


class _Silent:
    """Stands in for the live picture where there is no terminal."""

    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, _: RenderableType) -> None:
        """Shows nothing."""


def _picture(replay: Replay, lines: list[str]) -> RenderableType:
    bar = Progress(TextColumn(f"{replay.scenario.name}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    bar.add_task("", total=100, completed=round(100 * replay.progress))
    nodes = sorted(replay.deployed)
    return Group(bar, _knowledge(replay, nodes), _withheld(replay.tally), *lines[-6:])


def _knowledge(replay: Replay, nodes: list[str]) -> Table:
    tally = replay.tally
    table = Table(
        "nation", "gateway", "pushed", "knows from partners", "withdrawn", "latency from partners, median / worst"
    )
    for node in nodes:
        known = tally.events.get(node, Counter())
        words = [f"{count} {what.replace('_', ' ')}" for what, count in sorted(known.items())]
        recalled = sum(1 for receiver, _, _ in tally.withdrawals if receiver == node)
        latencies = [
            f"{origin} {measured[0]:.0f} / {measured[1]:.0f} ms"
            for origin in nodes
            if origin != node and (measured := tally.latency_ms(origin, node)) is not None
        ]
        up = "[green]up[/green]" if replay.gateways[node].running else "[red]DOWN[/red]"
        table.add_row(node, up, str(tally.pushed.get(node, 0)), "\n".join(words), str(recalled), "\n".join(latencies))
    return table


def _withheld(tally: Tally) -> Table:
    table = Table("withheld by", "from", "reports", "by the rule")
    for (node, partner, rule), count in sorted(tally.withheld.items()):
        table.add_row(node, partner, str(count), rule)
    return table


def _summary(console: Console, tally: Tally, nodes: list[str]) -> None:
    table = Table(
        "origin", "pushed", "accepted", "recipient", "released", "received", "withheld", "withdrawals", "latency"
    )
    for origin in nodes:
        accepted = sum(1 for node, _ in tally.accepted if node == origin)
        for recipient in nodes:
            if recipient == origin:
                continue
            decisions = [d for (o, _, p), d in tally.decisions.items() if (o, p) == (origin, recipient)]
            released = sum(bool(decision.ledger) for decision in decisions)
            received = sum(count for (n, o, _), count in tally.received.items() if (n, o) == (recipient, origin))
            recalled = sum(count for (n, o, _), count in tally.withdrawals.items() if (n, o) == (recipient, origin))
            measured = tally.latency_ms(origin, recipient)
            table.add_row(
                origin, str(tally.pushed.get(origin, 0)), str(accepted), recipient, str(released), str(received),
                str(len(decisions) - released), str(recalled),
                "" if measured is None else f"{measured[0]:.0f} / {measured[1]:.0f} ms",
            )  # fmt: skip
    if not console.is_terminal:
        console.print(_withheld(tally))
    console.print(table)
    console.print("Latency: median / worst, from durable at the origin to delivered to the recipient's C2 system;")
    console.print("the worst of the nation that was killed includes the time it was down.\n")


def _verify(console: Console, deployed: dict[str, Deployed]) -> list[str]:
    """Verifies every store, and that replicas are what their origins hold."""
    outcomes: dict[str, Verification] = {}
    for node, place in deployed.items():
        outcomes[node] = verify_configured(configuration.load(place.config), quiet=True)
    faults = [f"{node}: {finding}" for node, outcome in outcomes.items() for finding in outcome.findings]
    sizes = {(n, str(c.origin)): c for n, outcome in outcomes.items() for c in outcome.ledgers}
    table = Table("ledger", "entries", "replica", "receipt to", "post-quantum to")
    for (node, origin), check in sorted(sizes.items(), key=lambda item: item[0][1]):
        if check.replica:
            continue
        recipient = check.origin.recipient
        replica = None if recipient is None else sizes.get((recipient, origin))
        table.add_row(
            origin, str(check.size), "" if replica is None else str(replica.size),
            "" if recipient is None else str(check.receipt_size), str(check.pq_size),
        )  # fmt: skip
        if recipient is not None and (
            replica is None or replica.size != check.size or check.receipt_size != check.size
        ):
            faults.append(f"{origin}: {node} holds {check.size} entries with a receipt to {check.receipt_size}")
        if check.pq_size != check.size:
            faults.append(f"{origin}: its post-quantum line covers {check.pq_size} of {check.size} entries")
    console.print(table)
    for node, outcome in outcomes.items():
        console.print(
            f"{node}: {outcome.reports} reports, {outcome.released} released, {outcome.withheld} withheld:"
            f" {'sound' if outcome.sound else 'NOT SOUND'}"
        )
    console.print()
    return faults
