"""`signalfire ledger`: the ledgers as evidence."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.table import Table

from gateway import config as configuration
from gateway.cli.connecting import PARTLY
from gateway.cli.terminal import console
from gateway.clock import Clock
from gateway.exchange.partners import Partners, Pinned
from gateway.identity.errors import IdentityError
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.officer.verify import Verification, verify_store
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError


@click.group()
def ledger() -> None:
    """Check the ledgers that a gateway keeps.

    \b
    Example: signalfire ledger verify --config jpn/gateway.yaml
    """


@ledger.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The gateway's configuration: it names the store, the keys and the partners' bundles.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(path: Path, as_json: bool) -> None:
    """Rebuild everything that a store holds from its entries, and name whatever is wrong.

    Entries, tiles, roots, checkpoints, receipts, post-quantum lines, decisions, releases and what subscribers are given
    are compared with each other. It only reads, and may be run beside a running gateway.

    \b
    Exit code 0: sound; 3: not sound, and every finding is printed; 1: it could not be checked.
    Example: signalfire ledger verify --config jpn/gateway.yaml
    """
    try:
        outcome = verify_configured(configuration.load(path), quiet=as_json)
    except (configuration.ConfigError, IdentityError, LedgerError, SealError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(_as_json(outcome), indent=2))
    else:
        _show(outcome)
    if not outcome.sound:
        sys.exit(PARTLY)


def verify_configured(config: configuration.Config, *, quiet: bool) -> Verification:
    """Checks the store of a configured gateway. Raises IdentityError, LedgerError, SealError or OSError."""
    partners = Partners.load(
        [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()], Clock().now
    )
    signatory = Signatory.from_keys(config.node, NodeKeys.load(config.keys))
    store = SqliteReader(config.store)
    try:
        with store.snapshot():
            return verify_store(
                store, signatory, partners.keys(), progress=lambda text: None if quiet else click.echo(text, err=True)
            )
    finally:
        store.close()


def _as_json(outcome: Verification) -> dict[str, object]:
    return {
        "sound": outcome.sound,
        "reports": outcome.reports,
        "released": outcome.released,
        "withheld": outcome.withheld,
        "ledgers": [
            {
                "origin": str(check.origin),
                "replica": check.replica,
                "size": check.size,
                "checkpoints": check.checkpoints,
                "receipt_size": check.receipt_size,
                "pq_size": check.pq_size,
                "reports": check.reports,
                "withdrawals": check.withdrawals,
            }
            for check in outcome.ledgers
        ],
        "findings": [{"where": finding.where, "what": finding.what} for finding in outcome.findings],
    }


def _show(outcome: Verification) -> None:
    out = console()
    table = Table("ledger", "entries", "reports", "withdrawals", "checkpoints", "receipt to", "post-quantum to")
    for check in outcome.ledgers:
        table.add_row(
            str(check.origin) + (" (replica)" if check.replica else ""),
            *map(
                str,
                (check.size, check.reports, check.withdrawals, check.checkpoints, check.receipt_size, check.pq_size),
            ),
        )
    out.print(table)
    out.print(f"{outcome.reports} reports accepted, {outcome.released} copies released, {outcome.withheld} withheld")
    for finding in outcome.findings:
        out.print(f"[bold red]{finding}[/bold red]")
    out.print(
        "[bold green]sound[/bold green]" if outcome.sound else f"[bold red]{len(outcome.findings)} findings[/bold red]"
    )
