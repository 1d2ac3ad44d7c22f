"""What must hold before an officer's key is put to an order: what a gateway would refuse is refused here already.

1. The policy compiles and is that of the order's node.
2. Its cases can be read and pass, unless the officer says that he signs although they do not. Gateways run no cases.
3. Every invariant of it is proved.
4. The order is not stale, and a posture that it declares is not over.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import click

from policy import Bundle, compile_bundle, read_files
from policy.approve import DeclarePosture, Order
from policy.approve.proofs import Proofs
from policy.approve.words import shown
from policy.cases import read_cases
from policy.errors import PolicyError
from policy.testing import run


def read_bundle(directory: Path, node: str) -> Bundle:
    """The policy in a directory (rule 1). Raises PolicyError, ClickException."""
    bundle = compile_bundle(read_files(directory))
    if bundle.node != node:
        raise click.ClickException(f"{directory}: the policy is that of {bundle.node}, and the order is for {node}")
    return bundle


def require_tested_and_proved(directory: Path, bundle: Bundle, *, although_cases_fail: bool) -> None:
    """Raises ClickException where a case fails or an invariant is not proved (rules 2 and 3). Takes as long as
    `signalfire policy test` and `prove` do."""
    if failing := _failing(directory, bundle):
        click.echo("\n".join(failing), err=True)
        if not although_cases_fail:
            raise click.ClickException(
                f"{directory}: not signed, as its cases fail; `signalfire policy test {directory}` says why. Mend the"
                " policy or the cases, or say --although-cases-fail"
            )
        click.echo("You sign although cases fail.", err=True)
    if unproved := Proofs(time.monotonic).unproved(bundle):
        raise click.ClickException(
            f"{directory}: not signed, as the gateway would refuse it: {'; '.join(unproved)}."
            f" `signalfire policy prove {directory}` shows what breaks it; mend the policy"
        )


def require_still_good(order: Order, now: datetime) -> None:
    """Raises ClickException where the order could not be put in force at ``now`` any more (rule 4)."""
    if order.expires <= now:
        raise click.ClickException(
            f"the order is stale since {shown(order.expires)}: no gateway takes it. Write it anew; --hours says for"
            " how long it is good"
        )
    match order.action:
        case DeclarePosture(posture, until) if until is not None and until <= now:
            raise click.ClickException(
                f"the posture {posture} would be over already: {shown(until)} has passed. Give --until a time to come"
            )


def _failing(directory: Path, bundle: Bundle) -> list[str]:
    """What is wrong with the cases and what fails, a line each."""
    try:
        cases = read_cases(bundle)
    except PolicyError as error:
        return [f"{directory}/{problem}" for problem in error.problems]
    if not cases:
        click.echo(f"{directory} has no cases: what it does was tried on nothing.", err=True)
    return [
        f"fails {directory}/{result.case}: {'; '.join(result.failures)}"
        for result in run(bundle, cases).results
        if not result.passed
    ]
