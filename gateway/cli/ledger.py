"""`signalfire ledger`: the ledgers as evidence."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from gateway import config as configuration
from gateway.audit.ledger_check import LedgerCheck
from gateway.audit.records import Finding
from gateway.audit.verify import Verification, verify_store
from gateway.cli.connecting import PARTLY
from gateway.cli.ledger_export import export_command, verify_folder
from gateway.cli.ledger_proofs import check_proof_command, prove
from gateway.cli.ledger_recover import recover_command
from gateway.cli.nations import FILE
from gateway.cli.terminal import console
from gateway.clock import Clock
from gateway.exchange.bundle_record import BundleRecord, known_then
from gateway.exchange.partners import Partners, Pinned, public_keys
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import Keyring
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.errors import KeyNotHeld
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys
from gateway.release.signatory import Partner, Signatory
from gateway.seal.errors import SealError


@click.group()
def ledger() -> None:
    """The ledgers as evidence: check them, show them, prove what stands in them.

    \b
    Example: signalfire ledger verify --config jpn/gateway.yaml
    """


@ledger.command()
@click.option(
    "--config", "path", type=FILE, help="The gateway's configuration: it names the store, the keys and the partners."
)
@click.option(
    "--export",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory that `ledger export` wrote, to be checked instead of a store.",
)
@click.option("--bundle", "bundles", multiple=True, type=FILE, help="Trust bundle of a nation; may be repeated.")
@click.option("--root", "roots", multiple=True, type=FILE, help="That nation's root.vkey: one a bundle, in order.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify(
    path: Path | None, folder: Path | None, bundles: Sequence[Path], roots: Sequence[Path], as_json: bool
) -> None:
    """Rebuild everything that a store holds from its entries, and name whatever is wrong.

    Entries, tiles, roots, checkpoints, receipts, post-quantum lines, decisions, releases and what subscribers are given
    are compared with each other. It only reads, and may be run beside a running gateway. With --export a folder that
    was exported is checked instead, by the trust bundles of the nations alone.

    \b
    Exit code 0: sound; 3: not sound, and every finding is printed; 1: it could not be checked.
    Examples: signalfire ledger verify --config jpn/gateway.yaml
              signalfire ledger verify --export for-kor --bundle jpn.note --root jpn-root.vkey
    """
    if folder is not None and path is None:
        verify_folder(folder, bundles, roots, as_json=as_json)
        return
    if path is None or folder is not None or bundles or roots:
        raise click.UsageError("give either --config, or --export with the --bundle and --root of each nation")
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


ledger.add_command(export_command)
ledger.add_command(prove)
ledger.add_command(recover_command)
ledger.add_command(check_proof_command)


def verify_configured(config: configuration.Config, *, quiet: bool) -> Verification:
    """Checks the store of a configured gateway. Raises IdentityError, LedgerError, SealError or OSError."""
    signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))
    store = SqliteReader(config.store)
    try:
        with store.snapshot():
            # Of a partner's bundles the newest counts, and that may have come in band; what was retired, those before.
            record = BundleRecord(store.meta)
            pinned = {node: partner.root for node, partner in config.partners.items()}
            partners = Partners.load(
                [Pinned(node, partner.root, partner.bundle) for node, partner in config.partners.items()],
                Clock().now,
                lambda node: record.sequence(node, pinned[node]),
                lambda node: record.note(node, pinned[node]),
            )
            wrong = _wrong_keys(store, signatory)
            if wrong is not None and not quiet:
                click.echo(f"Wrong keys, so most of what follows is no damage: {wrong}.", err=True)
            outcome = verify_store(
                store,
                signatory,
                {node: known_then(partner, record, pinned[node]) for node, partner in partners.keys().items()},
                progress=lambda text: None if quiet else click.echo(text, err=True),
                own=_own_keys(config, record),
            )
            if wrong is not None:
                outcome.findings.insert(0, Finding(str(config.keys), wrong))
            return outcome
    finally:
        store.close()


def _wrong_keys(store: SqliteReader, signatory: Signatory) -> str | None:
    """Why the keys are not those of the store, where they are not. Raises StoreError."""
    try:
        require_own_keys(store, signatory.using(keys_on_record(store)))
    except KeyNotHeld as error:
        return str(error)
    return None


def _own_keys(config: configuration.Config, record: BundleRecord) -> Partner | None:
    """The keys of the node's own bundle, where it has one; expired or not, it says which keys were retired."""
    if config.trust is None:
        return None
    bundle = TrustBundle.open(config.trust.bundle.read_bytes(), config.trust.root, now=datetime.min.replace(tzinfo=UTC))
    return known_then(public_keys(bundle), record, config.trust.root)


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
                "absent": len(check.absent),
                "pruned": len(check.pruned),
                "cosigned": [
                    {"partner": partner, "size": size, "time": _when(at_s) if size else None}
                    for partner, (size, at_s) in sorted(check.cosigned.items())
                ],
            }
            for check in outcome.ledgers
        ],
        "findings": [{"where": finding.where, "what": finding.what} for finding in outcome.findings],
    }


def _when(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _generation(check: LedgerCheck) -> int:
    return check.origin.generation


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
    witness = max((check for check in outcome.ledgers if check.cosigned), key=_generation, default=None)
    if witness is not None:
        for partner, (size, at_s) in sorted(witness.cosigned.items()):
            told = (
                f"up to {size} of {witness.size} entries, last at {_when(at_s)} by its clock" if size else "nothing yet"
            )
            out.print(f"{partner} has cosigned {witness.origin}: {told}")
    for finding in outcome.findings:
        out.print(f"[bold red]{finding}[/bold red]")
    out.print(
        "[bold green]sound[/bold green]" if outcome.sound else f"[bold red]{len(outcome.findings)} findings[/bold red]"
    )
