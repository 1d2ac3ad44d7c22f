"""Whatever is proved of random policies, random reports do not refute: a million of them, or as many as asked for.

    PYTHONPATH=.:proto python bench/refute.py --reports 1000000 --seed 1

Prints what was proved and how often a report put it to the test, and ends with status 1 where one refuted it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from random import Random

from policy import Bundle, PolicyError
from policy.prove import ProofSettings, Status, prove, replay
from tests.policy.prove import random_policies

SETTINGS = ProofSettings(timeout_ms=2_000, models=2, pin_ms=50)


def a_bundle(random: Random) -> Bundle:
    """A random bundle that loads."""
    while True:
        try:
            return random_policies.bundle(random)
        except PolicyError:
            continue


def main() -> int:
    """Asks the bundles themselves about random reports."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reports", type=int, default=1_000_000)
    parser.add_argument("--per-policy", type=int, default=5_000, help="reports for each random policy")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random = Random(asked.seed)
    statuses: Counter[Status] = Counter()
    tried = released = put_to_test = 0
    proving_s = 0.0
    while tried < asked.reports:
        bundle = a_bundle(random)
        started = time.perf_counter()
        verdicts = prove(bundle, SETTINGS)
        proving_s += time.perf_counter() - started
        statuses.update(verdict.status for verdict in verdicts)
        proved = {verdict.invariant for verdict in verdicts if verdict.status is Status.PROVED}
        kept = [invariant for invariant in bundle.invariants if invariant.name in proved]
        for _ in range(min(asked.per_policy, asked.reports - tried)):
            drawn = random_policies.drawn(random)
            tried += 1
            if replay.released(bundle, drawn.report, random_policies.PARTNER, drawn.circumstances) is None:
                continue
            released += 1
            for invariant in kept:
                put_to_test += 1
                if replay.violated(bundle, invariant, drawn.report, random_policies.PARTNER, drawn.circumstances):
                    print(f"REFUTED: {invariant.name} of\n{bundle.files}\nby {drawn.report} in {drawn.circumstances}")
                    return 1
    print(f"{tried:,} reports, {released:,} released, {put_to_test:,} times against a proved invariant: none refuted")
    print(", ".join(f"{count:,} {status}" for status, count in sorted(statuses.items())))
    print(f"{proving_s / max(1, sum(statuses.values())) * 1_000:.0f} ms an invariant")
    return 0


if __name__ == "__main__":
    sys.exit(main())
