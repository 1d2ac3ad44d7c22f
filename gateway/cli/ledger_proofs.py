"""`signalfire ledger prove` and `check-proof`: one release, proved to whoever asks."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click
from google.protobuf import json_format

from gateway import config as configuration
from gateway.audit.proof_check import NotProved, Proved, Signed, at, check_proof
from gateway.audit.proofs import CannotProve, ProofRequest, prove_release
from gateway.cli.connecting import PARTLY, gateway_options_if_any, unreached
from gateway.cli.nations import FILE, bundle_of
from gateway.cli.opened import at_work, reading
from gateway.client import Client, ClientError
from gateway.exchange.partners import public_keys
from gateway.identity.errors import IdentityError
from gateway.identity.private_files import write_private
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.errors import LedgerError
from gateway.ledger.proof_file import MAX_PROOF_FILE, ProofFile
from gateway.reports.kinds import kind_of


@click.command()
@gateway_options_if_any
@click.option("--config", "path", type=FILE, help="The gateway's configuration: the proof is made from its store.")
@click.option("--report", "report_id", required=True, metavar="UUID", help="The report that was released.")
@click.option("--partner", required=True, metavar="NODE", help="To whom it was released, or who sent it.")
@click.option("--originator", default="", metavar="NODE", help="Whose report it is. Default: your own node's.")
@click.option(
    "--without-content", is_flag=True, help="Prove that the entry is there, and show nothing of what it says."
)
@click.option(
    "--unconfirmed",
    is_flag=True,
    help="With --config: also the content of an entry that the partner has not confirmed, and that may still have to be"
    " kept back from it.",
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write: NAME.tlog-proof."
)
def prove(
    connect: Callable[[], Client] | None,
    path: Path | None,
    report_id: str,
    partner: str,
    originator: str,
    without_content: bool,
    unconfirmed: bool,
    out: Path,
) -> None:
    """Write the proof of one release: a C2SP tlog-proof file, which anybody checks offline with your trust bundle.

    It holds the copy that the partner was released, its sealed entry, and the signed ledger with the partner's receipt;
    nothing of any other entry. It is made from the store with --config, beside a running gateway, or by the gateway
    with --credentials and --gateway; then the look is on record. After a change of keys a file of before proves nothing
    any more: it is made anew, by you or by the partner.

    \b
    Exit code 0: it is written; 1: it cannot be proved, and the message says why.
    Example: signalfire ledger prove --config jpn/gateway.yaml --report 0b8f63de-4a7c-4b1c-9d2e-1f0a5c6b7d8e
                 --partner KOR --out launch.tlog-proof
    """
    if (path is None) == (connect is None):
        raise click.UsageError("give either --config, or --credentials and --gateway")
    if unconfirmed and path is None:
        raise click.UsageError("--unconfirmed goes with --config: a gateway shows no content that is not confirmed")
    if out.exists():
        raise click.ClickException(f"{out} is there already; name a new file with --out, or remove it")
    request = ProofRequest(report_id, partner, originator, without_content, unconfirmed)
    try:
        if connect is not None:
            asked = connect().proof(report_id, partner, originator_node=originator, without_content=without_content)
            answer = asyncio.run(asked)
            made, remarks = answer.proof, list(answer.remarks)
        else:
            assert path is not None
            made, remarks = _made(configuration.load(path), request)
        # It may show a report: for its owner alone, who gives it on.
        write_private(out, made)
    except (configuration.ConfigError, CannotProve, ClientError, IdentityError, LedgerError, OSError) as error:
        told = unreached(error) if isinstance(error, ConnectionError) else str(error)
        raise click.ClickException(told) from error
    for remark in remarks:
        click.echo(f"note: {remark}", err=True)
    owner = ProofFile.parse(made).said.origin.owner
    click.echo(
        f"{out}: {len(made)} bytes; check it with the trust bundle of {owner}:\n"
        f"  signalfire ledger check-proof {shlex.quote(str(out))} --bundle {owner.lower()}.note"
        f" --root {owner.lower()}-root.vkey"
    )


def _made(config: configuration.Config, request: ProofRequest) -> tuple[bytes, list[str]]:
    with reading(config) as reader, reader.snapshot():
        opener, signers = at_work(config, reader)
        proof = prove_release(reader, opener, config.node, request, signers)
    return proof.file, list(proof.remarks)


@click.command(name="check-proof")
@click.argument("file", type=FILE)
@click.option("--bundle", required=True, type=FILE, help="Trust bundle of the nation that released.")
@click.option("--root", required=True, type=FILE, help="That nation's root.vkey.")
@click.option("--partner-bundle", type=FILE, help="Trust bundle of the partner, to check its receipt.")
@click.option("--partner-root", type=FILE, help="The partner's root.vkey.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with the report that is shown.")
def check_proof_command(
    file: Path, bundle: Path, root: Path, partner_bundle: Path | None, partner_root: Path | None, as_json: bool
) -> None:
    """Check a proof offline, and say in words what it proves.

    Nothing is needed but the file and the trust bundle of the nation that released; with the partner's bundle its
    receipt is checked as well. Only the keys that these bundles name as current are believed: get the newest ones.

    \b
    Exit code 0: it is proved; 3: it is not, and the message says why; 1: it could not be checked, as with a bundle that
    has expired.
    Example: signalfire ledger check-proof launch.tlog-proof --bundle jpn.note --root jpn-root.vkey
                 --partner-bundle kor.note --partner-root kor-root.vkey
    """
    if (partner_bundle is None) != (partner_root is None):
        raise click.UsageError("--partner-bundle and --partner-root go together")
    try:
        believed = [bundle_of(bundle, root)]
        if partner_bundle is not None and partner_root is not None:
            believed.append(bundle_of(partner_bundle, partner_root))
        owner, *others = map(public_keys, believed)
        with file.open("rb") as opened:
            raw = opened.read(MAX_PROOF_FILE + 1)
    except (IdentityError, OSError) as error:
        raise click.ClickException(str(error)) from error
    try:
        proved = check_proof(raw, owner, others[0] if others else None)
    except NotProved as error:
        if as_json:
            click.echo(json.dumps({"proved": False, "finding": str(error)}, indent=2))
        else:
            click.echo(f"NOT PROVED: {error}")
        sys.exit(PARTLY)
    if as_json:
        told = _as_json(proved) | {"bundles": [_bundle_as_json(each) for each in believed]}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    for line in _in_words(proved):
        click.echo(line)
    for each in believed:
        click.echo(f"  by the trust bundle {each.sequence} of {each.node}, in force until {_until(each)}")
    click.echo("It does not show that the report still stands: ask whoever released it.")
    for remark in proved.remarks:
        click.echo(f"note: {remark}")


def _until(bundle: TrustBundle) -> str:
    return f"{bundle.expires:%Y-%m-%dT%H:%M:%SZ}"


def _bundle_as_json(bundle: TrustBundle) -> dict[str, object]:
    return {"node": bundle.node, "sequence": bundle.sequence, "expires": _until(bundle)}


def _in_words(proved: Proved) -> list[str]:
    origin = proved.origin
    owner, recipient = origin.owner, origin.recipient
    lines = [f"PROVED: {_what(proved)}", f"  entry {proved.index} of {origin}, of {proved.checkpoint.size}"]
    lines.append(f"  signed by {owner}: log key {proved.signed.key_id}")
    if proved.post_quantum is not None:
        lines.append(
            f"  signed by {owner} post-quantum at {at(proved.post_quantum.seconds)}: key {proved.post_quantum.key_id}"
        )
    if proved.receipt is not None:
        given = at(proved.receipt.seconds)
        stored = "the hash of the entry" if proved.absent else "this entry"
        lines.append(f"  {recipient} confirmed at {given} that it stores {stored}: receipt key {proved.receipt.key_id}")
    return lines


def _what(proved: Proved) -> str:
    owner, recipient = proved.origin.owner, proved.origin.recipient
    if proved.absent:
        return f"{owner} keeps an entry for {recipient} of which only the hash is given: {proved.absent}"
    if proved.content is None:
        return f"{owner} released a sealed entry to {recipient}; its content is not shown"
    if proved.content.HasField("withdrawal"):
        return f"{owner} told {recipient} that report {proved.content.withdrawal.report_id} no longer stands"
    report = proved.report
    assert report is not None  # the content is one of three
    kind = kind_of(report)
    name = "report" if kind is None else kind.value
    passed = f", a report of {report.originator_node}," if proved.content.HasField("onward_report") else ""
    shown = ", of which parts are hidden" if proved.hidden else ""
    return f"{owner} released {name} {report.report_id}{passed} to {recipient}{shown}"


def _as_json(proved: Proved) -> dict[str, object]:
    def told(signed: Signed | None) -> dict[str, object] | None:
        if signed is None:
            return None
        when = {} if signed.seconds is None else {"time": at(signed.seconds)}
        return {"key_id": signed.key_id, **when}

    return {
        "proved": True,
        "what": _what(proved),
        "ledger": str(proved.origin),
        "index": proved.index,
        "size": proved.checkpoint.size,
        "root": proved.checkpoint.root.hex(),
        "released_by": proved.origin.owner,
        "released_to": proved.origin.recipient,
        "signature": told(proved.signed),
        "post_quantum_signature": told(proved.post_quantum),
        "receipt": told(proved.receipt),
        "absent": proved.absent or None,
        "hidden_parts": proved.hidden,
        "content": None
        if proved.content is None
        else json_format.MessageToDict(proved.content, preserving_proto_field_name=True),
        "notes": list(proved.remarks),
    }
