"""`signalfire ledger evidence` and `check-evidence`: nodes that contradicted themselves, shown to whoever asks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from signalfire.v1 import ledger_pb2

from gateway import config as configuration
from gateway.audit.decision_filter import DecisionFilter
from gateway.audit.search import DecisionSearch
from gateway.cli.connecting import PARTLY
from gateway.cli.nations import FILE, nation_of
from gateway.cli.opened import reading
from gateway.config import Config
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import Keyring
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import (
    MAX_EVIDENCE,
    Contradiction,
    EvidenceError,
    contradiction,
    contradictions,
    decode,
    encode,
)
from gateway.release.evidence import KIND, owner_keys, recorded_keys
from gateway.release.opening import Opener
from gateway.release.signatory import Partner, Signatory
from gateway.seal.errors import SealError

_PAGE = 100


@click.command(name="evidence")
@click.option(
    "--config", "path", type=FILE, required=True, help="The gateway's configuration: it names store and keys."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="A directory in which each contradiction is written as a file of its own.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def evidence_command(path: Path, out: Path | None, as_json: bool) -> None:
    """Show what is on record of nodes that contradicted themselves: two signed statements that cannot both be true.

    Each file that --out writes convinces whoever has that node's public keys, without this gateway or its store; it
    holds sizes and roots of ledgers, and nothing that stood in them. It reads the store beside a running gateway.

    \b
    Exit code 0: all that there is was shown; 1: the store could not be read.
    Example: signalfire ledger evidence --config jpn/gateway.yaml --out evidence
    """
    try:
        events = list(_events(configuration.load(path)))
        files = [] if out is None else [_written(out, number, event) for number, event in enumerate(events, 1)]
    except (configuration.ConfigError, IdentityError, LedgerError, SealError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        told = [
            {"time": event.time.ToJsonString(), "detail": event.detail, "file": str(files[number]) if files else None}
            for number, event in enumerate(events)
        ]
        click.echo(json.dumps(told, indent=2))
        return
    for number, event in enumerate(events):
        click.echo(f"{event.time.ToJsonString()} {event.detail}" + (f": {files[number]}" if files else ""))
    if not events:
        click.echo("no node has contradicted itself towards this one")


def _events(config: Config) -> Iterator[ledger_pb2.NodeEvent]:
    """The events that hold evidence, the oldest first."""
    signatory = Signatory.from_ring(config.node, Keyring.load(config.keys, config.key_lock()))
    wanted = DecisionFilter(events=True, event_kinds=frozenset({KIND}))
    token = b""
    with reading(config) as reader:
        search = DecisionSearch(reader, Opener(config.node, signatory.sealing), signatory)
        while True:
            page = search.page(wanted, limit=_PAGE, token=token, oldest_first=True)
            for entry in page.entries:
                yield entry.node_event
            token = page.next_token
            if not token:
                return


def _written(out: Path, number: int, event: ledger_pb2.NodeEvent) -> Path:
    one, other = event.evidence
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"fork-{number:04}.json"
    path.write_bytes(encode(one, other))
    return path


@click.command(name="check-evidence")
@click.argument("file", type=FILE)
@click.option("--bundle", required=True, type=FILE, help="Trust bundle of the nation that is accused.")
@click.option("--root", required=True, type=FILE, help="That nation's root.vkey.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_evidence_command(file: Path, bundle: Path, root: Path, as_json: bool) -> None:
    """Check offline that a nation contradicted itself, and say in words how.

    Nothing is needed but the file and the trust bundle of the nation that is accused, in force. What a key signed that
    this bundle names as retired proves nothing by itself: whoever took that key could have made it.

    \b
    Exit code 0: it did; 3: the file does not prove it, and the message says why; 1: it could not be checked.
    Example: signalfire ledger check-evidence fork-0001.json --bundle kor.note --root kor-root.vkey
    """
    try:
        nation = nation_of(bundle, root)
        with file.open("rb") as opened:
            raw = opened.read(MAX_EVIDENCE + 1)
    except (IdentityError, OSError) as error:
        raise click.ClickException(str(error)) from error
    try:
        found = check(raw, nation)
        others = contradictions(*decode(raw), owner_keys(nation))[1:]
    except EvidenceError as error:
        if as_json:
            click.echo(json.dumps({"proved": False, "finding": str(error)}, indent=2))
        else:
            click.echo(f"NOT PROVED: {error}")
        sys.exit(PARTLY)
    if as_json:
        told = {"proved": True, "node": found.origin.owner, **_as_json(found), "others": [*map(_as_json, others)]}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"PROVED: {found.origin.owner} contradicted itself. {found}")
    for other in others:
        click.echo(f"  and also {other}")


def check(raw: bytes, accused: Partner) -> Contradiction:
    """What a file proves against a node with these keys in use. Raises EvidenceError."""
    one, other = decode(raw)
    try:
        return contradiction(one, other, owner_keys(accused))
    except EvidenceError as error:
        try:
            found = contradiction(one, other, recorded_keys(accused))
        except EvidenceError:
            raise error from None
        raise EvidenceError(
            f"{found}; but a key that {accused.node} has retired signed one of the two, and whoever took that key could"
            " have made it: it is not proved by this file alone"
        ) from None


def _as_json(found: Contradiction) -> dict[str, object]:
    return {
        "ledger": str(found.origin),
        "heads": [{"size": head.size, "root": head.root.hex()} for head in found.heads],
    }
