"""`kill -9` of any gateway at any time, while it is pushed into and received from: nothing is lost, doubled or leaked.

Another course is played with other seeds: SIGNALFIRE_KILL_SEEDS="1 2 3".
"""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import config
from gateway.cli.demo import MAX_AGE_S, POLICIES, SCENARIOS, verdict
from gateway.cli.ledger import verify_configured
from gateway.demo.deployment import Gateway, deploy
from gateway.demo.outage import Outage
from gateway.demo.play import Replay
from gateway.demo.scenario import load_scenario

NODES = ("JPN", "KOR", "USA")
KILLS = 3
"""Of each gateway."""
DURATION_S = 12.0
SEEDS = [int(seed) for seed in os.environ.get("SIGNALFIRE_KILL_SEEDS", "1").split()]


def at_random(chance: random.Random) -> list[Outage]:
    """Outages of every node at moments of no meaning. Some are so short that the gateway is killed as it starts."""
    outages = []
    for node in NODES:
        moments = sorted(chance.uniform(0.02, 1.0) for _ in range(2 * KILLS))
        outages += [Outage(begins, ends, node) for begins, ends in zip(moments[::2], moments[1::2], strict=True)]
    return outages


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_report_is_lost_doubled_or_leaked_though_every_gateway_is_killed_again_and_again(
    tmp_path: Path, seed: int
) -> None:
    scenario = load_scenario(SCENARIOS / "2022-06-05-eight-missiles.yaml")
    places = deploy(
        tmp_path, {node: POLICIES / node.lower() for node in NODES}, now=datetime.now(UTC), max_age_s=MAX_AGE_S
    )
    said: list[str] = []
    replay = Replay(
        scenario,
        places,
        {node: Gateway(place) for node, place in places.items()},
        outages=at_random(random.Random(seed)),
        say=said.append,
    )
    try:
        await replay.run(duration_s=DURATION_S, seed=seed)
    finally:
        exits = replay.stop()
    tally = replay.tally

    # The course was as hard as it was meant to be.
    assert sum("is killed (kill -9)" in line for line in said) == KILLS * len(NODES)
    assert sum(tally.pushed.values()) > 700
    assert tally.released > 1000

    assert tally.faults() == []
    assert len(tally.accepted) == sum(tally.pushed.values())
    assert set(tally.received.values()) == {1}
    assert sum(tally.received.values()) == tally.released
    assert exits == dict.fromkeys(NODES, 0)

    # What subscribers saw is what the stores hold, and these are sound: every entry, root, checkpoint and receipt.
    outcomes = {node: verify_configured(config.load(place.config), quiet=True) for node, place in places.items()}
    assert verdict(outcomes) == []
    assert {node: outcome.reports for node, outcome in outcomes.items()} == dict(tally.pushed)
    assert sum(outcome.released for outcome in outcomes.values()) == tally.released
    received: Counter[tuple[str, str]] = Counter()
    for (node, origin, _), count in tally.received.items():
        received[(origin, node)] += count
    held = Counter({
        (check.origin.owner, node): 0 for node, outcome in outcomes.items() for check in outcome.ledgers
    })  # fmt: skip
    for node, outcome in outcomes.items():
        for check in outcome.ledgers:
            if check.replica:
                held[(check.origin.owner, node)] += check.reports
    assert +held == received
