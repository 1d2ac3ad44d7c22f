"""`signalfire ledger recover`: rebuilds records that were lost with the store, from what partners gave back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from rich.table import Table
from signalfire.v1 import ledger_pb2, officer_pb2

from gateway import config as configuration
from gateway.cli.connecting import PARTLY, gateway_options, unreached
from gateway.cli.nations import FILE
from gateway.cli.protection import nation_lock
from gateway.cli.terminal import console
from gateway.client import Client, ClientError
from gateway.identity.errors import IdentityError
from gateway.identity.recovery_key import load_recovery_key
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.seal.errors import SealError
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.recovery import unwrap_record_key


@click.command(name="recover")
@gateway_options
@click.option("--config", "path", type=FILE, required=True, help="The gateway's configuration: it names the store.")
@click.option(
    "--recovery-key",
    "key_files",
    type=FILE,
    multiple=True,
    required=True,
    help="recovery.key of the nation; may be repeated, where it was changed.",
)
@click.option("--passphrase-file", type=FILE, help="File with the passphrase of the recovery key. Asked otherwise.")
@click.option("--finished", is_flag=True, help="All is back that can be: C2 systems are asked for nothing any more.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recover_command(
    connect: Callable[[], Client],
    path: Path,
    key_files: Sequence[Path],
    passphrase_file: Path | None,
    finished: bool,
    as_json: bool,
) -> None:
    """Rebuild what was lost with the store: reports that were accepted, decisions, releases and holds.

    The gateway has to run, and to have taken back its ledgers from its partners (it does so by itself). The recovery
    key is used here and goes nowhere: the gateway is given the keys of the single records alone. What cannot be rebuilt
    is listed. It may be run again, when a further partner was heard; nothing is rebuilt twice.

    \b
    Exit code 0: all is on record again; 3: something is missing, which is listed; 1: nothing could be rebuilt.
    Example: signalfire ledger recover --credentials jpn/officer --gateway 127.0.0.1:7101 --config jpn/gateway.yaml
                 --recovery-key jpn-pki/recovery.key
    """
    try:
        config = configuration.load(path)
        private = [_key_in(file, passphrase_file) for file in key_files]
        keys, closed = unwrapped(config.store, config.node, private)
        done = asyncio.run(_recover(connect(), keys, finished=finished))
    except (configuration.ConfigError, ClientError, IdentityError, LedgerError, SealError, OSError) as error:
        if isinstance(error, ConnectionError):
            raise click.ClickException(unreached(error)) from error
        raise click.ClickException(str(error)) from error
    if as_json:
        answers = [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in done]
        click.echo(json.dumps({"ledgers": answers, "keys_not_unwrapped": closed}, indent=2))
    else:
        _show(done, closed)
    if closed or any(each.missing for each in done):
        sys.exit(PARTLY)


def _key_in(file: Path, passphrase_file: Path | None) -> SealingPrivateKey:
    parts = load_recovery_key(file, nation_lock(file.parent, passphrase_file))
    return SealingPrivateKey(parts["mlkem768_seed"], parts["x25519_private"])


def unwrapped(
    store: Path, node: str, private: Sequence[SealingPrivateKey]
) -> tuple[list[officer_pb2.RecoveryKey], list[str]]:
    """The keys of the recovery records in a store, and why those are missing that none of these keys unwraps.

    Raises StoreError.
    """
    keys: list[officer_pb2.RecoveryKey] = []
    closed: list[str] = []
    with contextlib.closing(SqliteReader(store)) as reader:
        for row in reader.each_recovery():
            if row.index != row.key_index:
                continue
            problem = ""
            for key in private:
                try:
                    sealed = ledger_pb2.SealedRecovery.FromString(row.sealed)
                    raw = unwrap_record_key(str(row.ledger), sealed, row.index, node, key)
                except (SealError, DecodeError) as error:
                    problem = problem or f"{row.ledger}: {error}"
                    continue
                keys.append(officer_pb2.RecoveryKey(ledger=str(row.ledger), key_index=row.index, content_key=raw))
                break
            else:
                closed.append(problem)
    return keys, closed


async def _recover(
    client: Client, keys: Sequence[officer_pb2.RecoveryKey], *, finished: bool
) -> list[officer_pb2.RecoverResponse]:
    return [each async for each in client.recover(keys, finished=finished)]


def _show(done: Sequence[officer_pb2.RecoverResponse], closed: Sequence[str]) -> None:
    out = console()
    table = Table("ledger", "records", "reports", "releases", "holds")
    for each in done:
        if each.ledger:
            table.add_row(each.ledger, str(each.records), str(each.reports), str(each.releases), str(each.held))
    out.print(table)
    missing = [*closed, *(what for each in done for what in each.missing)]
    if missing:
        out.print("Not on record again, or not yet:", style="bold")
        for what in missing:
            out.print(f"  {what}", markup=False, soft_wrap=True)
    elif not done:
        out.print("No partner has given back any recovery records.")
