"""`signalfire demo`: three nations share a real launch, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

import policy
from gateway import config as configuration
from gateway.audit.verify import Verification
from gateway.cli.demo_tables import knowledge, ledgers, pairs, picture, summary
from gateway.cli.ledger import verify_configured
from gateway.cli.terminal import console as standard_output
from gateway.client import ClientError
from gateway.demo.deployment import Deployed, Gateway, deploy
from gateway.demo.describe import describe
from gateway.demo.errors import DemoError
from gateway.demo.outage import Outage
from gateway.demo.play import Replay
from gateway.demo.scenario import Scenario, load_scenario
from gateway.demo.tally import utc_now
from gateway.identity.errors import IdentityError
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import WITNESS
from gateway.seal.errors import SealError

SCENARIOS = Path(__file__).resolve().parents[2] / "ops" / "demo"
DEFAULT_SCENARIO = "2017-09-14-over-japan"
POLICIES = Path(policy.__file__).parent / "examples" / "trilateral"

DURATION_S = 40.0
"""Seconds into which a scenario is fitted, unless it is played in real time."""

KILL_AT, RESTART_AT = 0.45, 0.70
"""The part of the replay for which one gateway is away."""

MAX_AGE_S = 14 * 86400.0
"""How old a replayed report may be: longer than any scenario."""

SHOWN_FAULTS = 20
"""Faults that are printed; the number of all of them follows."""

QUARTERS = 4
"""How often a replay whose output is no terminal prints what every nation knows."""


_FORESEEN = (
    ClientError,
    DemoError,
    IdentityError,
    LedgerError,
    SealError,
    policy.PolicyError,
    configuration.ConfigError,
    OSError,
)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


@click.command()
@click.option(
    "--scenario",
    default=DEFAULT_SCENARIO,
    show_default=True,
    metavar="NAME|FILE",
    help="Name of a scenario under ops/demo, or a file in the same format (docs/scenarios.md).",
)
@click.option(
    "--duration",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"Fit the scenario into so many seconds.  [default: {DURATION_S:g}]",
)
@click.option("--realtime", is_flag=True, help="Play at the tempo of history instead: minutes, or hours.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Leave configuration, keys and stores in this new directory."
)
@click.option("--seed", default=1, show_default=True, help="Chance of the sensors' noise.")
@click.option("--victim", default="USA", show_default=True, help="Nation whose gateway is killed halfway.")
def demo(scenario: str, duration: float | None, realtime: bool, keep: Path | None, seed: int, victim: str) -> None:
    """Show three nations sharing a real historical launch directly, with no hub.

    Each nation has a gateway process, keys, policy, ledgers and a C2 feed of its own. Each sees the launch with its own
    sensors. Halfway one gateway is killed and later started again. At the end every ledger and receipt is verified. All
    gateways end with the demo, also when it is stopped with Ctrl-C.

    \b
    Scenarios: 2017-09-14-over-japan, 2006-07-05-seven-missiles, 2022-06-05-eight-missiles
    Exit code 0: nothing was lost, doubled or leaked, and everything verifies; 1: something was, or it failed;
              2: wrong usage.
    Examples: signalfire demo --scenario 2022-06-05-eight-missiles
              signalfire demo --keep /tmp/three-nations
    """
    if realtime and duration is not None:
        raise click.UsageError("--duration and --realtime exclude each other; give one of them")
    console = standard_output()
    try:
        with _ended_in_order(), _directory(keep) as directory:
            played = load_scenario(_find(scenario))
            console.print(describe(played), highlight=False, soft_wrap=not console.is_terminal)
            console.print()
            faults = _play(console, played, directory, None if realtime else duration or DURATION_S, seed, victim)
    except _FORESEEN as error:
        raise click.ClickException(str(error)) from error
    except ExceptionGroup as group:
        # The parts of a replay fail together; the first that says what to do is the one to show.
        foreseen = group.subgroup(_FORESEEN)
        if foreseen is None:
            raise
        raise click.ClickException(str(_first(foreseen))) from group
    if faults:
        for fault in faults[:SHOWN_FAULTS]:
            console.print(fault, style="bold red", highlight=False)
        raise click.ClickException(f"{len(faults)} faults")
    console.print(
        "[bold green]Nothing was lost, doubled or leaked; every ledger and every receipt verifies.[/bold green]"
    )
    if keep is not None:
        console.print(f"Left behind in {keep}. To check a store again:")
        console.print(f"  signalfire ledger verify --config {keep}/jpn/gateway.yaml", highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end the demo as Ctrl-C does: gateways are stopped and directories removed."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="signalfire-demo-") as name:
            yield Path(name)
        return
    if keep.exists() and not (keep.is_dir() and not any(keep.iterdir())):
        raise click.BadParameter(f"{keep} is there and is no empty directory; name a new one", param_hint="--keep")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _find(scenario: str) -> Path:
    named, file = SCENARIOS / f"{scenario}.yaml", Path(scenario)
    if not named.exists() and not file.exists():
        raise DemoError(
            f"There is no scenario {scenario!r}",
            where=f"neither in {SCENARIOS} nor as a file",
            mend=f"Name a file, or one of {', '.join(sorted(path.stem for path in SCENARIOS.glob('*.yaml')))}.",
        )
    return named if named.exists() else file


def _play(
    console: Console, scenario: Scenario, directory: Path, duration_s: float | None, seed: int, victim: str
) -> list[str]:
    """Plays and judges. Returns the faults; none: all is well."""
    nodes = sorted(nation.node for nation in scenario.nations)
    missing = [node for node in nodes if not (POLICIES / node.lower()).is_dir()]
    if missing:
        raise DemoError(
            f"There is no policy for {', '.join(missing)}",
            where=scenario.name,
            mend=f"The demo has policies for {', '.join(sorted(path.name.upper() for path in POLICIES.iterdir()))}.",
        )
    if victim not in nodes:
        raise click.BadParameter(f"{victim} is not one of {', '.join(nodes)}", param_hint="--victim")
    began = time.monotonic()
    deployed = deploy(directory, {node: POLICIES / node.lower() for node in nodes}, now=utc_now(), max_age_s=MAX_AGE_S)
    console.print(f"{len(nodes)} nations set up in {time.monotonic() - began:.1f} s: PKI, policy, configuration\n")
    replay = Replay(
        scenario,
        deployed,
        {node: Gateway(place) for node, place in deployed.items()},
        outages=[Outage(KILL_AT, RESTART_AT, victim)],
    )
    try:
        asyncio.run(_show(console, replay, duration_s, seed))
    finally:
        exits = replay.stop()
    console.print()
    faults = [f"the gateway of {node} ended with exit code {code}" for node, code in exits.items() if code]
    faults += replay.tally.faults()
    if not console.is_terminal:
        console.print(knowledge(replay.tally, dict.fromkeys(nodes, True)))
    console.print(summary(replay.tally, nodes))
    console.print("Latency: median / worst, from accepted at the origin to delivered to the recipient's C2 system;")
    console.print("the worst of the nation that was killed includes the time it was down.\n")
    outcomes = _verify(console, deployed)
    hashes = {str(check.origin): check.absent for each in outcomes.values() for check in each.ledgers if check.replica}
    return faults + replay.tally.kept_back_faults(hashes) + verdict(outcomes)


async def _show(console: Console, replay: Replay, duration_s: float | None, seed: int) -> None:
    """Plays. What happens is told in lines; on a terminal a picture of what everybody knows stays below them."""
    started = time.monotonic()
    replay.say = lambda text: console.print(
        Text(f"{time.monotonic() - started:6.1f} s  {text}"), soft_wrap=not console.is_terminal
    )
    playing = asyncio.create_task(replay.run(duration_s=duration_s, seed=seed))
    with _told_to_end(playing) as told:
        if console.is_terminal:
            with Live(picture(replay), console=console, auto_refresh=False) as live:
                while not playing.done():
                    await asyncio.wait([playing], timeout=0.25)
                    live.update(picture(replay), refresh=True)
        else:
            for quarter in range(1, QUARTERS):
                while replay.progress < quarter / QUARTERS and not playing.done():
                    await asyncio.wait([playing], timeout=0.25)
                if not playing.done():
                    up = {node: each.running for node, each in replay.gateways.items()}
                    console.print(knowledge(replay.tally, up))
        try:
            await playing
        except asyncio.CancelledError:
            if told:
                sys.exit(128 + told[0])
            raise


@contextlib.contextmanager
def _told_to_end(playing: asyncio.Task[None]) -> Iterator[list[int]]:
    """While a replay plays, a signal ends its task and no other: raised in one of its parts, it would leave the rest
    in pieces. Gives the signals that came.
    """
    loop, told = asyncio.get_running_loop(), list[int]()

    def end(number: int, _: FrameType | None) -> None:
        told.append(number)
        loop.call_soon_threadsafe(playing.cancel)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _verify(console: Console, deployed: Mapping[str, Deployed]) -> dict[str, Verification]:
    """Verifies every store, and shows what was found."""
    outcomes: dict[str, Verification] = {}
    for node, place in deployed.items():
        outcomes[node] = verify_configured(configuration.load(place.config), quiet=True)
    console.print(ledgers(outcomes))
    for node, outcome in outcomes.items():
        console.print(
            f"{node}: {outcome.reports} reports, {outcome.released} released, {outcome.withheld} withheld:"
            f" {'sound' if outcome.sound else 'NOT SOUND'}"
        )
    console.print()
    return outcomes


def verdict(outcomes: Mapping[str, Verification]) -> list[str]:
    """Everything that is wrong with the stores of a replay that has settled; empty: nothing."""
    faults = [f"{node}: {finding}" for node, outcome in outcomes.items() for finding in outcome.findings]
    for own, replica in pairs(outcomes):
        if own.origin.recipient is not None:
            if replica is None or replica.size != own.size:
                faults.append(f"{own.origin}: {own.size} entries, {replica.size if replica else 0} in the replica")
            if own.receipt_size != own.size:
                faults.append(f"{own.origin}: {own.size} entries, and a receipt for {own.receipt_size}")
        # A witness ledger may have had its last beat as the gateway stopped.
        if own.pq_size != own.size and own.origin.lane != WITNESS:
            faults.append(f"{own.origin}: {own.size} entries, and a post-quantum line over {own.pq_size}")
    return faults
