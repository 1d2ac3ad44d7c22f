"""`signalfire ledger reconcile`: what one nation says that it sent against what the other says that it holds."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from rich.table import Table
from signalfire.v1 import officer_pb2

from gateway.audit.export_check import verify_export
from gateway.audit.exported import ExportedFolder, FolderError
from gateway.audit.manifest import MANIFEST
from gateway.audit.reconcile import reconcile
from gateway.audit.signers import Signers
from gateway.cli.connecting import PARTLY, gateway_options_if_any, unreached
from gateway.cli.nations import nation_of
from gateway.cli.terminal import console
from gateway.client import Client, ClientError
from gateway.identity.errors import IdentityError
from gateway.identity.private_files import write_private
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import encode
from gateway.ledger.note import Note
from gateway.ledger.origin import PREFIX
from gateway.release.signatory import Partner

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(name="reconcile")
@gateway_options_if_any
@click.option("--partner", metavar="NODE", help="Compare live: your gateway asks this partner's.")
@click.option("--ours", type=_FOLDER, help="Compare folders that `ledger export` wrote: this one is yours.")
@click.option("--theirs", type=_FOLDER, help="The folder that the partner wrote.")
@click.option("--our-bundle", type=_FILE, help="Your trust bundle.")
@click.option("--our-root", type=_FILE, help="Your root.vkey.")
@click.option("--their-bundle", type=_FILE, help="The partner's trust bundle.")
@click.option("--their-root", type=_FILE, help="The partner's root.vkey.")
@click.option(
    "--third",
    "thirds",
    type=(_FILE, _FILE),
    multiple=True,
    metavar="BUNDLE ROOT",
    help="Trust bundle and root.vkey of a third nation, whose witness ledger both folders hold; may be repeated.",
)
@click.option(
    "--evidence",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save what contradicts here: two checkpoints of one size as `ledger check-evidence` reads them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reconcile_command(
    connect: Callable[[], Client] | None,
    partner: str | None,
    ours: Path | None,
    theirs: Path | None,
    our_bundle: Path | None,
    our_root: Path | None,
    their_bundle: Path | None,
    their_root: Path | None,
    thirds: Sequence[tuple[Path, Path]],
    evidence: Path | None,
    as_json: bool,
) -> None:
    """Compare every ledger between you and a partner with what the partner holds.

    Live, your gateway asks the partner's; only hashes travel, and the outcome goes on record. With --ours and --theirs
    two exported folders are compared, with nobody online. The witness ledgers of third nations that both hold are
    compared too. What parts is named to the entry, with who signed what.

    \b
    Exit code 0: no ledger parts (one side may be behind); 3: one does; 1: it could not be compared.
    Examples: signalfire ledger reconcile --credentials jpn/officer --gateway 127.0.0.1:7101 --partner KOR
              signalfire ledger reconcile --ours jpn-export --our-bundle jpn.note --our-root jpn-root.vkey
                  --theirs kor-export --their-bundle kor.note --their-root kor-root.vkey
    """
    files = {
        "--ours": ours,
        "--theirs": theirs,
        "--our-bundle": our_bundle,
        "--our-root": our_root,
        "--their-bundle": their_bundle,
        "--their-root": their_root,
    }
    missing = [name for name, given in files.items() if given is None]
    try:
        if connect is not None and partner is not None and len(missing) == len(files) and not thirds:
            found = asyncio.run(_live(connect(), partner))
        elif connect is None and partner is None and ours and our_bundle and our_root and theirs and not missing:
            assert their_bundle is not None
            assert their_root is not None
            our, their = nation_of(our_bundle, our_root), nation_of(their_bundle, their_root)
            others = [nation_of(bundle, root) for bundle, root in thirds]
            found = asyncio.run(_folders(ours, theirs, our, their, others))
        elif connect is None and partner is None and len(missing) < len(files):
            raise click.UsageError(f"to compare folders give {', '.join(missing)} as well")
        else:
            raise click.UsageError(
                "give --credentials, --gateway and --partner to compare live, or --ours and --theirs with both bundles"
                " and roots to compare folders"
            )
        if evidence is not None:
            _save(found, evidence)
    except (ClientError, IdentityError, LedgerError, FolderError, OSError) as error:
        words = str(error)
        if isinstance(error, ConnectionError) and partner is not None and f"{partner} cannot be asked" in words:
            words = f"the gateway of {partner} does not answer ours: {_after_address(words, partner)}"
        elif isinstance(error, ConnectionError):
            words = unreached(error)
        raise click.ClickException(words) from error
    if as_json:
        click.echo(json.dumps({"ledgers": [_as_json(each) for each in found]}, indent=2))
    else:
        _show(found)
    if any(each.finding for each in found):
        sys.exit(PARTLY)


def _after_address(words: str, partner: str) -> str:
    """What our gateway says of the partner's, without our own gateway's address: it answered."""
    return words[words.index(f"{partner} cannot be asked") :]


async def _live(client: Client, partner: str) -> list[officer_pb2.ReconcileResponse]:
    return [each async for each in client.reconcile(partner)]


async def _folders(
    ours: Path, theirs: Path, our: Partner, their: Partner, thirds: Sequence[Partner]
) -> list[officer_pb2.ReconcileResponse]:
    if our.node == their.node:
        raise click.ClickException(f"both bundles are those of {our.node}: give yours and the partner's")
    nations = {nation.node: nation for nation in (*thirds, our, their)}
    signers = {node: Signers.of(nation) for node, nation in nations.items()}
    one, other = (ExportedFolder(folder, our.node, their.node) for folder in (ours, theirs))
    # The folders may have been written at different times, so that an owner may be behind as well.
    compared = reconcile(our.node, their.node, one, other, signers, at_once=False, signed_sizes=one.signed_sizes)
    found = {}
    async for each in compared:
        found[str(each.origin)] = each.told()
        lacking = [node for folder, node in ((one, our.node), (other, their.node)) if folder.lacks(each.origin)]
        if lacking:
            parts = (found[str(each.origin)].finding, f"ABSENT from the folder of {lacking[0]}")
            found[str(each.origin)].finding = "; ".join(filter(None, parts))
    for origin in sorted({*one.broken, *other.broken}, key=str):
        # What neither folder has whole is named as well.
        found.setdefault(str(origin), officer_pb2.ReconcileResponse(ledger=str(origin)))
    # What is compared are hashes: that the entries of each folder are theirs is checked apart.
    for folder, whose in ((ours, our.node), (theirs, their.node)):
        for finding in verify_export(folder, nations).findings:
            if finding.where == MANIFEST:
                found.setdefault(MANIFEST, officer_pb2.ReconcileResponse(ledger=MANIFEST))
            if finding.where in found:
                parts = (found[finding.where].finding, f"the folder of {whose} is not sound: {finding.what}")
                found[finding.where].finding = "; ".join(filter(None, parts))
    return list(found.values())


def _save(found: Sequence[officer_pb2.ReconcileResponse], directory: Path) -> None:
    """Two notes that cannot both be true as `check-evidence` reads them; any other note as it is."""
    directory.mkdir(parents=True, exist_ok=True)
    for each in found:
        name = each.ledger.removeprefix(f"{PREFIX}/").replace("/", "-")
        notes = list(each.evidence)
        pair = next(((one, other) for one, other in itertools.combinations(notes, 2) if _two_roots(one, other)), None)
        if pair is not None:
            write_private(directory / f"{name}.json", encode(*pair), mode=0o644)
            notes = [note for note in notes if note not in pair]
        for number, note in enumerate(notes, 1):
            write_private(directory / f"{name}.{number}.note", note, mode=0o644)


def _two_roots(one: bytes, other: bytes) -> bool:
    """Whether two checkpoints of one ledger give it two roots at one size, both signed by its owner as they say."""
    try:
        notes = [Note.parse(raw) for raw in (one, other)]
        said = [Checkpoint.parse(note.text) for note in notes]
    except LedgerError:
        return False
    origins = {checkpoint.origin for checkpoint in said}
    by_owner = all(str(said[0].origin) in {line.name for line in note.signatures} for note in notes)
    return by_owner and len(origins) == 1 and said[0].size == said[1].size and said[0].root != said[1].root


def _as_json(each: officer_pb2.ReconcileResponse) -> dict[str, object]:
    return {
        "ledger": each.ledger,
        "size": each.size,
        "partner_size": each.partner_size,
        "agreed_size": each.agreed_size,
        "differing": list(each.differing),
        "finding": each.finding,
        "evidence": [note.decode("utf-8", "replace") for note in each.evidence],
    }


def _show(found: Sequence[officer_pb2.ReconcileResponse]) -> None:
    out = console()
    table = Table("ledger", "ours", "theirs", "identical to", "outcome")
    for each in found:
        table.add_row(each.ledger, str(each.size), str(each.partner_size), str(each.agreed_size), _outcome(each))
    out.print(table)
    parted = [each for each in found if each.finding]
    for each in parted:
        out.print(f"[bold red]{each.ledger}: {each.finding}[/bold red]")
        if each.differing:
            shown = ", ".join(map(str, each.differing[:20]))
            more = f" and {len(each.differing) - 20} more" if len(each.differing) > 20 else ""
            out.print(f"  entries that differ: {shown}{more}")
    out.print(
        f"[bold red]{len(parted)} of {len(found)} ledgers part[/bold red]"
        if parted
        else "[bold green]no ledger parts[/bold green]"
    )


def _outcome(each: officer_pb2.ReconcileResponse) -> str:
    if each.finding:
        return "ABSENT" if each.finding.startswith("ABSENT") else "PARTS"
    if each.size == each.partner_size:
        return "identical"
    return f"{'theirs' if each.partner_size < each.size else 'ours'} is behind by {abs(each.size - each.partner_size)}"
