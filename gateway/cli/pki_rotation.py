"""`signalfire pki admit`, `retire`, `revoke` and `authority`: the nation's side of keys that change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

import click

from gateway.cli.protection import nation_lock, passphrase_option
from gateway.identity import issuing, nation
from gateway.identity.admission import (
    CRL_LIFETIME,
    admit,
    drop_former_authorities,
    is_revoked,
    replace_authority,
    retire,
    revoke,
    write_certificate,
)
from gateway.identity.errors import IdentityError, Refusal
from gateway.identity.keyring import public_key_id
from gateway.identity.private_files import MAX_FILE_SIZE
from gateway.identity.revocation import MAX_LISTS
from gateway.identity.spiffe import Role

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_nation_dir = click.option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The nation's directory, made by `signalfire pki init`.",
)
_passphrase = passphrase_option("the nation's private keys")


@contextmanager
def refusals() -> Iterator[None]:
    """Turns what can go wrong into exit codes: 2 for a value that can never do, 1 for everything else."""
    try:
        yield
    except IdentityError as refused:
        if refused.code is Refusal.BAD_REQUEST:
            raise click.UsageError(str(refused)) from refused
        raise click.ClickException(str(refused)) from refused
    except OSError as failed:
        raise click.ClickException(f"{failed.filename or 'file'}: {failed.strerror or failed}") from failed


def now_utc() -> datetime:
    """The time."""
    return datetime.now(UTC)


@click.command("admit")
@click.argument("request", type=_FILE)
@_nation_dir
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where to put the certificate, if one.")
@click.option(
    "--days",
    type=click.IntRange(1, 825),
    default=issuing.LEAF_LIFETIME.days,
    show_default=True,
    help="How long the certificate is valid.",
)
@_passphrase
def admit_command(request: Path, directory: Path, out: Path | None, days: int, passphrase_file: Path | None) -> None:
    """Put a gateway's new keys on record, and issue the certificate that it asks for.

    REQUEST is what `signalfire keys rotate` wrote: public keys, signed by a log key of that gateway. It is believed
    only if that key is on record for the gateway and not retired. The next bundle then lists the new keys first.

    \b
    Example:
      signalfire pki admit jpn-a.request --dir jpn-pki --out for-jpn-a
    """
    with refusals():
        with request.open("rb") as file:
            raw = file.read(MAX_FILE_SIZE)
        if b'"csr": null' not in raw and out is None:
            raise click.UsageError("the request asks for a certificate: say with --out where to put it")
        lock = nation_lock(directory, passphrase_file)
        admitted = admit(directory, raw, now=now_utc(), lifetime=timedelta(days=days), lock=lock)
        if admitted.certificate is not None and out is not None:
            write_certificate(out, admitted.certificate)
    for kind, key_id in admitted.keys:
        click.echo(f"Admitted the {kind} key {key_id} of {admitted.spiffe_id}.")
    if admitted.certificate is not None:
        click.echo(f"Issued a certificate for {admitted.spiffe_id} into {out}.")
    click.echo(f"Next: signalfire pki bundle --dir {directory} --out {out or 'DIR'}")


@click.command("retire")
@_nation_dir
@click.option("--key", "key_id", help="Id of the key, or its first digits (8 or more). Otherwise all but the newest.")
@click.option(
    "--since",
    metavar="TIME",
    help="From when on nothing that it signed is believed, e.g. 2026-11-21T09:00:00Z: when it may have been stolen.",
)
def retire_command(directory: Path, key_id: str | None, since: str | None) -> None:
    """Take keys out of use: they sign no more, and what they signed is believed up to now.

    Without --key, of each kind every key but the newest. Retire only once the gateway uses the new ones, which
    `signalfire keys list` tells; of a stolen key, at once, with --since and the time of the theft. It takes effect with
    the next bundle.

    \b
    Examples:
      signalfire pki retire --dir jpn-pki
      signalfire pki retire --dir jpn-pki --key 3f9a12bc --since 2026-11-21T09:00:00Z
    """
    if key_id is not None and (len(key_id) < 8 or any(digit not in "0123456789abcdef" for digit in key_id)):
        raise click.UsageError(f"--key {key_id}: is not an id: 8 or more lower-case hexadecimal digits")
    with refusals():
        changed = retire(directory, now=now_utc(), key_id=key_id, since=None if since is None else _time(since))
    for one in changed:
        click.echo(f"Retired the {one.kind} key {_id(one.kind, one.key)}: signed until {one.until.isoformat()}.")
    if not changed:
        click.echo("Nothing changes: it was retired before, and not later than that.")
    click.echo(f"Next: signalfire pki bundle --dir {directory}")


@click.command("revoke")
@click.argument("certificate", type=_FILE, required=False)
@_nation_dir
@click.option(
    "--days",
    type=click.IntRange(1, 825),
    default=CRL_LIFETIME.days,
    show_default=True,
    help="By when the next list is promised. What is revoked stays revoked after that too.",
)
@_passphrase
def revoke_command(certificate: Path | None, directory: Path, days: int, passphrase_file: Path | None) -> None:
    """Put a certificate on the revocation list of the authority that issued it.

    CERTIFICATE is the leaf's file. Without it, the lists there are signed anew. Lists of C2 systems and officers go to
    your gateways; that of gateways goes into the trust bundle.

    \b
    Example:
      signalfire pki revoke jpn-sensor-net/c2.crt.pem --dir jpn-pki
      signalfire pki bundle --dir jpn-pki --out for-jpn-a
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        pem = None if certificate is None else certificate.read_bytes()
        twice = pem is not None and is_revoked(directory, pem)
        lists = revoke(directory, pem, now=now_utc(), lifetime=timedelta(days=days), lock=lock)
    if twice:
        click.echo("It was revoked before: it stays on the list, with the time of then.")
    for path in lists:
        click.echo(f"Signed the revocation list {path}.")
        if (size := path.stat().st_size) > MAX_LISTS // 4:
            click.echo(f"It has {size} bytes, and a gateway reads {MAX_LISTS}: replace this authority soon.", err=True)
    click.echo(
        f"Next: signalfire pki bundle --dir {directory} --out DIR, and signalfire keys install DIR at each gateway"
    )


@click.command("authority")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@_nation_dir
@click.option("--drop-former", is_flag=True, help="End the belief in the authorities before the one that issues.")
@click.option(
    "--days",
    type=click.IntRange(1, 7300),
    default=nation.AUTHORITY_LIFETIME.days,
    show_default=True,
    help="How long the new authority is valid.",
)
@_passphrase
def authority_command(role: str, directory: Path, drop_former: bool, days: int, passphrase_file: Path | None) -> None:
    """Replace an authority: first make a new one that is believed beside the old, then drop the old.

    The new one issues from now on. Between the two steps, issue every certificate of that role anew. Both steps take
    effect with the next bundle, and at your gateways with `signalfire keys install`.

    \b
    Examples:
      signalfire pki authority gateway --dir jpn-pki
      signalfire pki authority gateway --dir jpn-pki --drop-former
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        if drop_former:
            dropped = drop_former_authorities(directory, Role(role), lock=lock)
            click.echo(f"Dropped {dropped} former {role} {'authority' if dropped == 1 else 'authorities'}.")
        else:
            made = replace_authority(directory, Role(role), now=now_utc(), lifetime=timedelta(days=days), lock=lock)
            click.echo(
                f"Made a new {role} authority, serial {made.certificate.serial_number:x}. It issues from now on."
            )
    click.echo(
        f"Next: signalfire pki bundle --dir {directory} --out DIR, and signalfire keys install DIR at each gateway"
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--since {text}: is not a time, such as 2026-11-21T09:00:00Z") from error
    if time.tzinfo is None:
        raise click.UsageError(f"--since {text}: has no time zone; write it with Z for UTC")
    return time.astimezone(UTC)


def _id(kind: str, public: bytes) -> str:
    return sha256(public).hexdigest()[:32] if kind == "sealing" else public_key_id(public)


COMMANDS: Final = (admit_command, retire_command, revoke_command, authority_command)
"""To be added to the group `pki`."""
