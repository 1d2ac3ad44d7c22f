"""`signalfire ledger export`, and what `ledger verify` says of a folder that it wrote."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from gateway import config as configuration
from gateway.audit.export import ExportedCounts, ExportError, ExportRequest, export
from gateway.audit.export_check import ExportVerification, verify_export
from gateway.audit.exported import FolderError
from gateway.audit.proof_check import at
from gateway.cli.connecting import PARTLY
from gateway.cli.nations import FILE, nations_of
from gateway.cli.opened import reading
from gateway.cli.terminal import console
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import Keyring
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.release.key_switch import keys_on_record
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError


@click.command(name="export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--config", "path", required=True, type=FILE, help="The gateway's configuration: store, keys.")
@click.option("--ledger", "lines", multiple=True, metavar="ORIGIN", help="This ledger alone; may be repeated.")
@click.option("--partner", metavar="NODE", help="Only the ledgers between you and this partner.")
@click.option(
    "--unconfirmed",
    is_flag=True,
    help="Also what a partner has not confirmed yet, which may still have to be kept back from it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_command(
    directory: Path, path: Path, lines: Sequence[str], partner: str | None, unconfirmed: bool, as_json: bool
) -> None:
    """Write ledgers into the new directory DIRECTORY, in the public static layout of C2SP tlog-tiles.

    Entries stay sealed. What was kept back from a partner, or pruned, goes as its hash alone with the signed reason. A
    manifest, signed by your gateway, lists the ledgers. It only reads, and may be run beside a running gateway.

    \b
    Exit code 0: it is written; 1: nothing is, and the message says why.
    Example: signalfire ledger export for-kor --config jpn/gateway.yaml --partner KOR
    """
    try:
        config = configuration.load(path)
        if partner is not None and partner not in config.partners:
            known = ", ".join(sorted(config.partners)) or "nobody"
            raise click.ClickException(
                f"--partner: {partner!r} is no partner of this node; name one of them: {known}. A former partner's"
                " ledgers are exported by name, with --ledger"
            )
        ring = Keyring.load(config.keys, config.key_lock())
        request = ExportRequest(frozenset(map(Origin.parse, lines)), partner, unconfirmed)
        with reading(config) as reader:
            signer = Signatory.from_ring(config.node, ring, keys_on_record(reader)).gateway
            written = export(reader, config.node, directory, request, _say, signer=signer)
    except (configuration.ConfigError, ExportError, IdentityError, LedgerError, SealError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps({"directory": str(directory), "ledgers": [_told(each) for each in written]}, indent=2))
        return
    table = Table("ledger", "entries", "as hashes alone", "signed notes", "left out")
    for each in written:
        table.add_row(str(each.origin), *map(str, (each.size, each.absent, each.signatures)), each.why)
    console().print(table)


def _say(text: str) -> None:
    click.echo(text, err=True)


def _told(each: ExportedCounts) -> dict[str, object]:
    return {
        "origin": str(each.origin),
        "size": each.size,
        "absent": each.absent,
        "signed_notes": each.signatures,
        "left_out": each.why or None,
    }


def verify_folder(top: Path, bundles: Sequence[Path], roots: Sequence[Path], *, as_json: bool) -> None:
    """Checks an exported folder, prints what was found, and ends the command."""
    try:
        nations = nations_of(bundles, roots)
        outcome = verify_export(top, nations, lambda text: None if as_json else click.echo(text, err=True))
    except (FolderError, IdentityError, LedgerError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(_as_json(outcome), indent=2))
    else:
        _show(outcome)
    if not outcome.sound:
        sys.exit(PARTLY)


def _as_json(outcome: ExportVerification) -> dict[str, object]:
    return {
        "sound": outcome.sound,
        "ledgers": [
            {
                "origin": check.origin,
                "size": check.size,
                "absent": check.absent,
                "checkpoints": check.checkpoints,
                "receipt_size": check.receipt_size,
                "receipt_time": at(check.receipt_seconds) if check.receipts else None,
                "pq_size": check.pq_size,
                "unchecked": check.unchecked,
            }
            for check in outcome.ledgers
        ],
        "findings": [{"where": finding.where, "what": finding.what} for finding in outcome.findings],
        "notes": outcome.remarks,
    }


def _show(outcome: ExportVerification) -> None:
    out = console()
    table = Table("ledger", "entries", "as hashes alone", "checkpoints", "receipt to", "post-quantum to", "not checked")
    for check in outcome.ledgers:
        receipt = f"{check.receipt_size} at {at(check.receipt_seconds)}" if check.receipts else "0"
        figures = check.size, check.absent, check.checkpoints, receipt, check.pq_size, check.unchecked
        table.add_row(
            check.origin,
            *map(str, figures),
        )
    out.print(table)
    for remark in outcome.remarks:
        out.print(f"note: {remark}")
    for finding in outcome.findings:
        out.print(f"[bold red]{finding}[/bold red]")
    out.print(
        "[bold green]sound[/bold green]" if outcome.sound else f"[bold red]{len(outcome.findings)} findings[/bold red]"
    )
