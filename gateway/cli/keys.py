"""`signalfire keys`: the private keys of a gateway: how they are locked, which there are, and how they are replaced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import click
from cryptography import x509
from rich.table import Table
from signalfire.v1 import officer_pb2

from gateway import config as configuration
from gateway.cli.connecting import gateway_options_if_any, unreached
from gateway.cli.pki_rotation import now_utc, refusals
from gateway.cli.protection import locking_options, unlocking_options
from gateway.cli.terminal import console
from gateway.client import Client, ClientError
from gateway.identity.installing import install
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.locked import KeyLock, Unwrapper, Wrapper, is_sealed
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, tls_key_id
from gateway.identity.private_files import read_private, write_private
from gateway.identity.relocking import (
    lock_directory,
    method_of,
    relock_directory,
    secret_files,
    unlock_directory,
)
from gateway.identity.rotation import KINDS, TLS, make_request
from gateway.identity.trust_bundle import TrustBundle
from gateway.identity.unlocking import Command, KeyFile, Passphrase

_keys_dir = click.option(
    "--keys",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The directory of private keys: a gateway's, or a nation's.",
)
_config = click.option(
    "--config",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The gateway's configuration.",
)


@click.group()
def keys() -> None:
    """Lock, list and replace the private keys of a gateway.

    \b
    Encrypt them where they lie:  signalfire keys lock --keys jpn-a --lock-with-key-file jpn-a.unlock
    New keys, without a restart:  signalfire keys rotate --config jpn/gateway.yaml --out jpn-a.request
    Where they stand:             signalfire keys list --config jpn/gateway.yaml
    """


@keys.command("lock")
@_keys_dir
@locking_options
def lock_command(keys: Path, wrapper: Wrapper | None) -> None:
    """Encrypt the private keys of a directory, in place.

    A gateway's configuration has to say how to unlock them (`unlock`) before it starts the next time. If this is cut
    short, the keys can still be used; give the same command again.

    \b
    Example: signalfire keys lock --keys jpn-a --lock-with-key-file jpn-a.unlock
    """
    with refusals():
        _say(lock_directory(keys, _made(wrapper)), f"locked by {method_of(keys)}")
        _say_unlock(wrapper)


@keys.command("unlock")
@_keys_dir
@unlocking_options
def unlock_command(keys: Path, unwrapper_of: Callable[[Path], Unwrapper | None]) -> None:
    """Leave the private keys of a directory without encryption, in place.

    \b
    Example: signalfire keys unlock --keys jpn-a --key-file jpn-a.unlock
    """
    with refusals():
        _say(unlock_directory(keys, _needed(keys, unwrapper_of)), "plain: anybody who can read the files has the keys")


@keys.command("relock")
@_keys_dir
@unlocking_options
@locking_options
def relock_command(keys: Path, unwrapper_of: Callable[[Path], Unwrapper | None], wrapper: Wrapper | None) -> None:
    """Encrypt the private keys of a directory in another way, under a new key-encryption key, in place.

    If this is cut short, the new way opens the keys as soon as lock.json names it, and the old one before.

    \b
    Example: signalfire keys relock --keys jpn-a --key-file jpn-a.unlock --lock-with-passphrase-file passphrase
    """
    with refusals():
        unwrapper = _needed(keys, unwrapper_of)
        # Before a key file is made: one that locks nothing would be taken for one that does.
        KeyLock(keys, unwrapper).check()
        _say(relock_directory(keys, unwrapper, _made(wrapper)), f"locked by {method_of(keys)}")
        _say_unlock(wrapper)


@keys.command("rotate")
@_config
@click.option(
    "--only",
    metavar="KINDS",
    default=",".join(KINDS),
    show_default=True,
    help="Which keys to make anew, separated by commas.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Where to write the request."
)
def rotate_command(path: Path, only: str, out: Path) -> None:
    """Make new keys beside those in use, and the request to admit them.

    Nothing changes for the running gateway: the keys in use stay in use until your nation has admitted the new ones
    and all partners know of them. The private halves never leave the keys directory; the request is not secret. A new
    storage key is this node's own affair and needs no request.

    \b
    Examples:
      signalfire keys rotate --config jpn/gateway.yaml --out jpn-a.request
      signalfire keys rotate --config jpn/gateway.yaml --only tls --out jpn-a.request
    """
    kinds = [kind.strip() for kind in only.split(",")]
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise click.UsageError(f"--only {only}: {', '.join(unknown)} is no kind of key; there are {', '.join(KINDS)}")
    if out.exists():
        raise click.ClickException(f"{out}: is there already; name another file")
    config = _load(path)
    with refusals():
        request, made = make_request(config.keys, config.key_lock(), config.node, kinds, now=now_utc())
        for name in made:
            click.echo(f"Made {config.keys / name}.")
        if request is None:
            click.echo("There is nothing to admit: a storage key is this gateway's own.")
            return
        write_private(out, request, mode=0o644)
    click.echo(f"Next, where your nation's root is: signalfire pki admit {out} --dir DIR --out OUT")


@keys.command("install")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_config
def install_command(directory: Path, path: Path) -> None:
    """Put in place what your nation issued: trust bundle, certificate, national authorities, revocation lists.

    DIRECTORY holds what `signalfire pki admit` and `signalfire pki bundle` put there. All of it is checked before
    anything is written. A running gateway takes it up by itself, within a second.

    \b
    Example: signalfire keys install for-jpn-a --config jpn/gateway.yaml
    """
    config = _load(path)
    trust = config.trust
    with refusals():
        if trust is None and (directory / "bundle.note").exists():
            click.echo(f"{path}: has no section `trust`, so the bundle is left where it is", err=True)
        put = install(
            directory,
            config.keys,
            config.key_lock(),
            config.node,
            now=now_utc(),
            root="" if trust is None else trust.root,
            bundle=None if trust is None else trust.bundle,
        )
    for each in put:
        click.echo(f"Installed {each}.")


@keys.command("list")
@_config
@gateway_options_if_any
def list_command(connect: Callable[[], Client] | None, path: Path) -> None:
    """Show the keys of a gateway, and where each stands in its rotation.

    From the files alone: which keys there are, whether they are encrypted, and what the own trust bundle says of them.
    With --gateway and --credentials the running gateway says which are in use, and which partners know its bundle.

    \b
    Examples:
      signalfire keys list --config jpn/gateway.yaml
      signalfire keys list --config jpn/gateway.yaml --credentials jpn/officer --gateway 127.0.0.1:7101
    """
    config = _load(path)
    with refusals():
        rows = _rows(config, now_utc())
    status = None
    if connect is not None:
        try:
            status = asyncio.run(connect().key_status())
        except ClientError as error:
            raise click.ClickException(str(error)) from error
        except ConnectionError as error:
            raise click.ClickException(unreached(error)) from error
    _show(rows, status)


@dataclass(frozen=True, slots=True)
class _Row:
    kind: str
    key_id: str
    file: str
    encrypted: bool
    bundle: str


def _rows(config: configuration.Config, now: datetime) -> list[_Row]:
    ring = Keyring.load(config.keys, config.key_lock())
    bundle = None
    if config.trust is not None and config.trust.bundle.exists():
        # Expired or not: what it says of the keys is shown.
        earliest = datetime.min.replace(tzinfo=now.tzinfo)
        bundle = TrustBundle.open(config.trust.bundle.read_bytes(), config.trust.root, now=earliest)
    rows = [
        _Row(
            kind.value,
            key.key_id,
            key.file,
            is_sealed(read_private(config.keys / key.file)),
            "" if bundle is None or kind is KeyKind.STORAGE else _said(bundle, kind, key.public),
        )
        for kind, held in ring.keys.items()
        for key in held.values()
    ]
    certificate = x509.load_pem_x509_certificate(read_private(config.keys / GATEWAY_CERTIFICATE))
    own = tls_key_id(certificate.public_key())
    for name in secret_files(config.keys):
        if name.startswith("gateway.") and name.endswith(".key.pem"):
            key_id = own if name == GATEWAY_KEY else name.split(".")[1]
            until = (
                f"certificate until {certificate.not_valid_after_utc:%Y-%m-%d}" if key_id == own else "no certificate"
            )
            rows.append(_Row(TLS, key_id, name, is_sealed(read_private(config.keys / name)), until))
    return rows


def _said(bundle: TrustBundle, kind: KeyKind, public: bytes) -> str:
    listed = {
        KeyKind.LOG: bundle.log_keys,
        KeyKind.RECEIPT: bundle.receipt_keys,
        KeyKind.PQ: bundle.pq_keys,
        KeyKind.SEALING: tuple(key.mlkem768 + key.x25519 for key in bundle.sealing_keys),
    }[kind]
    if public in listed:
        return "newest" if public == listed[0] else "believed"
    retired = next((one for one in bundle.retired if one.key == public), None)
    return "not in it" if retired is None else f"retired {retired.until:%Y-%m-%dT%H:%M:%SZ}"


def _show(rows: list[_Row], status: officer_pb2.GetKeyStatusResponse | None) -> None:
    out = console()
    states: dict[tuple[str, str], str] = {}
    if status is not None:
        prefix: Final = "KEY_STATE_"
        states = {
            (key.kind, key.key_id): officer_pb2.KeyState.Name(key.state).removeprefix(prefix).lower()
            for key in status.keys
        }
    table = Table("kind", "key", "file", "encrypted", "own bundle says", *(["gateway says"] if status else []))
    for row in rows:
        state = states.get((row.kind, row.key_id), "not held")
        if state == "retired" and not row.bundle.startswith("retired"):
            # Out of use here, and still believed: retired is what the nation's bundle calls so.
            state = "replaced"
        said = [state] if status is not None else []
        table.add_row(row.kind, row.key_id, row.file, "yes" if row.encrypted else "NO", row.bundle, *said)
    out.print(table)
    if status is not None:
        out.print(f"own trust bundle in use: sequence {status.bundle_sequence}")
        known = Table("partner", "believes our bundle")
        for each in status.known:
            known.add_row(each.partner, str(each.sequence) if each.sequence else "has not said")
        out.print(known)


def _load(path: Path) -> configuration.Config:
    try:
        return configuration.load(path)
    except configuration.ConfigError as refused:
        raise click.ClickException(str(refused)) from refused


def _made(wrapper: Wrapper | None) -> Wrapper:
    if wrapper is None:
        raise click.UsageError(
            "say how to lock: --lock-with-key-file FILE, --lock-with-passphrase-file FILE, --lock-with-command PROGRAM"
        )
    if isinstance(wrapper, KeyFile) and wrapper.make():
        click.echo(f"Made the key file {wrapper.path}: it unlocks the keys. Keep it apart from them.")
    return wrapper


def _say_unlock(wrapper: Wrapper | None) -> None:
    """What a gateway's configuration has to say of this lock; of a nation's keys no configuration speaks."""
    match wrapper:
        case KeyFile():
            how = f"key_file: {json.dumps(str(wrapper.path.absolute()))}"
        case Passphrase(file=Path() as file):
            how = f"passphrase_file: {json.dumps(str(file.absolute()))}"
        case Command():
            how = f"command: {json.dumps(list(wrapper.unwrap_argv))}"
        case _:
            return
    click.echo(f"A gateway's gateway.yaml needs this line:\nunlock: {{{how}}}")


def _needed(directory: Path, unwrapper_of: Callable[[Path], Unwrapper | None]) -> Unwrapper:
    unwrapper = unwrapper_of(directory)
    if unwrapper is None:
        raise click.UsageError("say how to unlock: --key-file FILE, --passphrase-file FILE or --command PROGRAM")
    return unwrapper


def _say(files: list[str], how: str) -> None:
    for name in files:
        click.echo(f"Wrote {name}.")
    click.echo(f"The keys are {how}.")
