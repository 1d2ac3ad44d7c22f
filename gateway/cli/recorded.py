"""Reports from where they were recorded: JSON Lines, or the store of a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

import click
from google.protobuf import json_format
from signalfire.v1 import report_pb2

from gateway.cli.lines import MAX_LINE
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.locked import KeyLock
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.seal.errors import SealError
from gateway.seal.storage import StorageKey, StorageKeys


def name_of(file: IO[bytes]) -> str:
    """What a file is called where something is told of it."""
    name = getattr(file, "name", "-")
    return "standard input" if name in ("-", "<stdin>") else str(name)


def report_of(text: bytes, where: str) -> report_pb2.Report:
    """A report in protobuf's JSON form. Raises ClickException, which names ``where`` it stands."""
    try:
        # The library would take an empty list for an empty message.
        if not text.lstrip().startswith(b"{"):
            raise json_format.ParseError("a JSON object begins with {")
        return json_format.Parse(text, report_pb2.Report())
    except (json_format.ParseError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{where} is not a Report in protobuf's JSON form: {error}") from error


def reports_of_lines(file: IO[bytes]) -> Iterator[report_pb2.Report]:
    """The reports of JSON Lines, one a line; empty lines are passed over. Raises ClickException."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise click.ClickException(f"line {number} of {name_of(file)} is longer than {MAX_LINE} bytes")
        if line.strip():
            yield report_of(line, f"line {number} of {name_of(file)}")


def reports_of_store(store: Path, keys: KeyLock) -> Iterator[report_pb2.Report]:
    """The reports that a gateway accepted, in their order, opened with its storage keys; without those whose content
    was pruned. Raises ClickException.
    """
    try:
        ring = Keyring.load(keys.directory, keys)
        storage = StorageKeys([StorageKey(key.secret) for key in ring.keys[KeyKind.STORAGE].values()])
        with closing(SqliteReader(store)) as reader:
            for seq in range(1, reader.last_report() + 1):
                row = reader.report_at(seq)
                if row is not None and row.pruned_ns is None:
                    yield report_pb2.Report.FromString(storage.open(row.payload, row.report_id))
    except (IdentityError, LedgerError, SealError, OSError) as error:
        raise click.ClickException(str(error)) from error
