"""`signalfire pki`: a nation's root, its authorities, its certificates, and the trust bundle that partners pin."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click
from cryptography import x509

from gateway.cli.pki_rotation import COMMANDS as ROTATION
from gateway.cli.pki_rotation import now_utc, refusals
from gateway.cli.protection import locking_options, nation_lock, new_passphrase, passphrase_option
from gateway.identity import describe, issuing, nation, next_bundle
from gateway.identity.admission import write_outgoing
from gateway.identity.authority import IpAddress
from gateway.identity.errors import SpiffeIdError
from gateway.identity.keyring import public_key_id
from gateway.identity.locked import Wrapper, is_sealed
from gateway.identity.node_keys import kind_of
from gateway.identity.officer_keys import create_officer_key
from gateway.identity.peer import verify_peer
from gateway.identity.recovery_key import RECOVERY_PUBLIC, make_recovery_key
from gateway.identity.retirement import left_out, read_retired
from gateway.identity.revocation import MAX_LISTS, Issuers, load_crls
from gateway.identity.spiffe import Role, SpiffeId, trust_domain_of
from gateway.identity.trust_bundle import TrustBundle
from gateway.identity.unlocking import KeyFile, Passphrase

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_PRESENT_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_PRESENT_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Ip(click.ParamType[IpAddress]):
    name = "ip"

    def convert(self, value: str | IpAddress, param: click.Parameter | None, ctx: click.Context | None) -> IpAddress:
        try:
            return ipaddress.ip_address(value)
        except ValueError:
            self.fail(f"{value!r} is not an IPv4 or IPv6 address", param, ctx)


def _node(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        trust_domain_of(value)
    except SpiffeIdError as refused:
        raise click.BadParameter(f"{refused.what}. {refused.mend}") from refused
    return value


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        SpiffeId.of("ZZZ", Role.GATEWAY, value)
    except SpiffeIdError as refused:
        raise click.BadParameter(f"{refused.what}; use 1 to 63 of a-z, 0-9 and -") from refused
    return value


_nation_dir = click.option(
    "--dir",
    "directory",
    type=_PRESENT_DIRECTORY,
    required=True,
    help="The nation's directory, made by `signalfire pki init`.",
)
_out_dir = click.option(
    "--out", type=_DIRECTORY, required=True, help="Where to put the secrets. Made, for its owner alone, if need be."
)
_leaf_days = click.option(
    "--days",
    type=click.IntRange(1, 825),
    default=issuing.LEAF_LIFETIME.days,
    show_default=True,
    help="How long the certificate is valid.",
)


_nation_passphrase = passphrase_option("the nation's private keys")


@click.group()
def pki() -> None:
    """Make and look at keys, certificates and trust bundles.

    Each nation has a root and authorities of its own; no authority is shared. Partners pin the nation's root key once,
    in person, and then believe the trust bundles that it signs.

    \b
    A nation from nothing:
      signalfire pki init JPN --dir jpn-pki
      signalfire pki gateway a --dir jpn-pki --out jpn-a --address gw.example.jp:7443 --lock-with-key-file jpn-a.unlock
      signalfire pki c2 sensor-net --dir jpn-pki --out jpn-sensor-net
      signalfire pki officer sato --dir jpn-pki --out jpn-sato
      signalfire pki bundle --dir jpn-pki
      signalfire pki show jpn-pki/bundle.note
    """


@pki.command("init")
@click.argument("node", callback=_node)
@click.option(
    "--dir", "directory", type=_DIRECTORY, required=True, help="Where to make the nation. Must not hold one yet."
)
@click.option(
    "--days",
    type=click.IntRange(1, 7300),
    default=nation.AUTHORITY_LIFETIME.days,
    show_default=True,
    help="How long the authorities are valid.",
)
@passphrase_option("the nation's private keys")
@click.option("--unlocked", is_flag=True, help="Leave the private keys without encryption.")
def init_command(node: str, directory: Path, days: int, passphrase_file: Path | None, unlocked: bool) -> None:
    """Make the root and the three authorities of a nation.

    NODE is the nation's ISO 3166-1 alpha-3 code, such as JPN.

    There are three authorities, one each for gateways, C2 systems and officers, so that whoever holds one cannot mint
    the others' certificates. Keep the directory off the gateways. Move root.key to offline storage: it is needed
    only to sign trust bundles and to issue.

    The private keys of root and authorities are encrypted with a passphrase, which is asked for, or is the one line of
    --passphrase-file. Every command that issues or signs needs it again.

    \b
    Example:
      signalfire pki init JPN --dir jpn-pki
    """
    with refusals():
        passphrase = new_passphrase(passphrase_file, f"the keys of {node}", unlocked=unlocked)
        made = nation.create_nation(
            directory,
            node,
            now=now_utc(),
            lifetime=timedelta(days=days),
            locked_by=None if passphrase is None else Passphrase(lambda: passphrase, "passphrase"),
        )
    click.echo(f"Made the root and the gateway, c2 and officer authorities of {node} in {directory}.")
    click.echo("Partners pin this line, which you give them in person:")
    click.echo(f"  {made.root.vkey}")


@pki.command("gateway")
@click.argument("name", callback=_name)
@_nation_dir
@_out_dir
@click.option(
    "--address", required=True, help="Where partners dial this gateway, host:port. It goes into the trust bundle."
)
@click.option("--dns", "dns", multiple=True, help="A further DNS name for the certificate. May be repeated.")
@click.option("--ip", "ips", type=_Ip(), multiple=True, help="An IP address for the certificate. May be repeated.")
@click.option(
    "--keys-from",
    type=_PRESENT_DIRECTORY,
    help="Take all keys but the certificate's from this secrets directory: to renew a certificate, or to add a "
    "gateway that shares the node's keys.",
)
@_leaf_days
@locking_options
@click.option("--unlocked", is_flag=True, help="Leave the gateway's private keys without encryption.")
@_nation_passphrase
def gateway_command(
    name: str,
    directory: Path,
    out: Path,
    address: str,
    dns: Sequence[str],
    ips: Sequence[IpAddress],
    keys_from: Path | None,
    days: int,
    wrapper: Wrapper | None,
    unlocked: bool,
    passphrase_file: Path | None,
) -> None:
    """Issue a gateway: its certificate and all of its node keys.

    NAME is the gateway's name within the nation, such as a. The certificate is for spiffe://<nation>/gateway/NAME.
    Hand the --out directory to the gateway, then write and exchange a new trust bundle: without it no partner believes
    the new keys. Without --keys-from, every key is new, and the new ones are used first.

    Say how the keys are encrypted: with a key file (made if it is not there; keep it apart), a passphrase file, a
    program, or --unlocked. The configuration's `unlock` names the same. With --keys-from, that opens the old directory.

    \b
    Examples:
      signalfire pki gateway a --dir jpn-pki --out jpn-a --address gw.example.jp:7443 --lock-with-key-file jpn-a.unlock
      signalfire pki gateway b --dir jpn-pki --out jpn-b --address gw2.example.jp:7443 --keys-from jpn-a \\
        --lock-with-key-file jpn-a.unlock
    """
    if (wrapper is None) != unlocked:
        raise click.UsageError(
            "say how the gateway's private keys are encrypted: --lock-with-key-file FILE, --lock-with-passphrase-file"
            " FILE or --lock-with-command PROGRAM; or leave them plain with --unlocked"
        )
    with refusals():
        if isinstance(wrapper, KeyFile) and wrapper.make():
            click.echo(f"Made the key file {wrapper.path}: it unlocks the gateway's keys. Keep it apart from them.")
        issued = issuing.issue_gateway(
            directory,
            name,
            out,
            now=now_utc(),
            address=address,
            extra_dns=dns,
            extra_ips=ips,
            lifetime=timedelta(days=days),
            keys_from=keys_from,
            locked_by=wrapper,
            lock=nation_lock(directory, passphrase_file),
        )
    click.echo(f"Issued {issued} into {out}.")
    click.echo(f"Next: signalfire pki bundle --dir {directory}")


@pki.command("c2")
@click.argument("name", callback=_name)
@_nation_dir
@_out_dir
@_leaf_days
@_nation_passphrase
def c2_command(name: str, directory: Path, out: Path, days: int, passphrase_file: Path | None) -> None:
    """Issue a certificate for a national C2 system.

    NAME is the system's name, such as sensor-net. It can call the nation's own gateways and nothing else: partners
    never believe it, and it can never be a server.

    \b
    Example:
      signalfire pki c2 sensor-net --dir jpn-pki --out jpn-sensor-net
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        issued = issuing.issue_c2(directory, name, out, now=now_utc(), lifetime=timedelta(days=days), lock=lock)
    click.echo(f"Issued {issued} into {out}.")


@pki.command("officer")
@click.argument("name", callback=_name)
@_nation_dir
@_out_dir
@_leaf_days
@_nation_passphrase
def officer_command(name: str, directory: Path, out: Path, days: int, passphrase_file: Path | None) -> None:
    """Issue a certificate for a security officer.

    NAME is the officer's name in the system, such as sato. The certificate lets the officer connect and watch.

    \b
    Example:
      signalfire pki officer sato --dir jpn-pki --out jpn-sato
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        issued = issuing.issue_officer(directory, name, out, now=now_utc(), lifetime=timedelta(days=days), lock=lock)
    click.echo(f"Issued {issued} into {out}.")


@pki.command("officer-key")
@click.argument("name", callback=_name)
@click.option("--node", callback=_node, required=True, help="The officer's nation: ISO 3166-1 alpha-3, such as JPN.")
@_out_dir
@passphrase_option("the key")
@click.option("--unlocked", is_flag=True, help="Leave the key without encryption: whoever has the file can sign.")
def officer_key_command(name: str, node: str, out: Path, passphrase_file: Path | None, unlocked: bool) -> None:
    """Make the key with which an officer signs orders.

    Each officer makes his own, on a machine of his own, and gives only the line that is printed to whoever writes the
    roster. The key has nothing to do with the officer's certificate: the certificate opens the door of the gateway,
    the key decides what is released. It is encrypted with a passphrase, which is asked for unless --passphrase-file
    gives it.

    \b
    Writes NAME.key, which nobody else may read, and NAME.vkey, which is public.
    Example:
      signalfire pki officer-key alice --node JPN --out alice-key
    """
    with refusals():
        passphrase = new_passphrase(passphrase_file, f"the key of {name}", unlocked=unlocked)
        made = create_officer_key(out, node, name, passphrase)
    click.echo(f"Made {out / name}.key: keep it off every network. The line for the roster (also in {name}.vkey):")
    click.echo(f"  {made.vkey}")


@pki.command("recovery")
@_nation_dir
@_nation_passphrase
def recovery_command(directory: Path, passphrase_file: Path | None) -> None:
    """Make the recovery key of a nation that was made without one.

    recovery.key opens what a gateway whose store was lost gets back from its partners (docs/recovery.md): keep it
    offline, with root.key. recovery.pub goes into the keys directory of each gateway, and is no secret.

    \b
    Example: signalfire pki recovery --dir jpn-pki
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        node = nation.load_nation(directory, lock).node
        make_recovery_key(directory, node, lock)
    click.echo(f"Made the recovery key of {node} in {directory}.")
    click.echo(f"Copy {directory / RECOVERY_PUBLIC} into the keys directory of each gateway, and start it again.")


@pki.command("bundle")
@_nation_dir
@click.option(
    "--days",
    type=click.IntRange(1, 1830),
    default=next_bundle.BUNDLE_LIFETIME.days,
    show_default=True,
    help="How long partners may use the bundle.",
)
@click.option(
    "--sequence",
    type=click.IntRange(1),
    help="Sequence to give it, if bundle.note was lost. Otherwise one more than the last.",
)
@click.option(
    "--out",
    type=_DIRECTORY,
    help="Also put here what your gateways install: bundle, national authorities, revocation lists.",
)
@_nation_passphrase
def bundle_command(
    directory: Path, days: int, sequence: int | None, out: Path | None, passphrase_file: Path | None
) -> None:
    """Sign the next trust bundle, which partners exchange; they pin the root that signs it.

    It holds the authority of the nation's gateways, the public keys and addresses of every gateway on record in
    DIR/gateways, a sequence and an expiry, signed by the root. It is not secret, but it must come from you: partners
    check its signature against the root key that you gave them in person.

    Keys that `signalfire pki retire` took out of use stand in it as retired; what `signalfire pki revoke` revoked of
    gateways' certificates stands in it too.

    \b
    Example:
      signalfire pki bundle --dir jpn-pki --out for-jpn-a
    """
    with refusals():
        lock = nation_lock(directory, passphrase_file)
        bundle = next_bundle.write_bundle(
            directory, now=now_utc(), lifetime=timedelta(days=days), sequence=sequence, lock=lock
        )
        if out is not None:
            write_outgoing(directory, out, lock=lock)
        dropped = left_out(read_retired(directory))
    click.echo(f"Signed trust bundle {bundle.sequence} of {bundle.node}: {directory / 'bundle.note'}")
    click.echo(f"It expires at {bundle.expires.isoformat()}.")
    for one in dropped:
        click.echo(
            f"LEFT OUT, for there is no room: the retired {one.kind} key {public_key_id(one.key)}, which signed until"
            f" {one.until.isoformat()}. Whoever has had an earlier bundle goes on verifying what it signed;"
            " others cannot.",
            err=True,
        )


@pki.command("show")
@click.argument("file", type=_PRESENT_FILE)
@click.option(
    "--root",
    type=_PRESENT_FILE,
    help="The pinned root.vkey to check a bundle with. By default root.vkey beside the bundle.",
)
@click.option("--ca", type=_PRESENT_FILE, help="The authority (PEM) to check a certificate with.")
@click.option(
    "--crl",
    type=_PRESENT_FILE,
    help="The authority's revocation list. By default the one beside it, where there is one.",
)
def show_command(file: Path, root: Path | None, ca: Path | None, crl: Path | None) -> None:
    """Print a certificate or trust bundle in plain words, and check it.

    Exits with 1 if what is shown should not be believed now: a bad signature, expired, another nation's. Without
    --ca, the issuer of a certificate is not checked. A file with a secret is named, never printed.

    \b
    Examples:
      signalfire pki show jpn-pki/bundle.note
      signalfire pki show kor.note --root kor-root.vkey
      signalfire pki show jpn-a/gateway.crt.pem --ca jpn-pki/ca/gateway.crt.pem
    """
    if crl is not None and ca is None:
        raise click.UsageError("--crl is that of an authority: give it with --ca")
    now = now_utc()
    with refusals():
        with file.open("rb") as opened:
            raw = opened.read(MAX_LISTS)
        kind = kind_of(raw)
        if kind is not None:
            how = "Encrypted" if is_sealed(raw) else "NOT encrypted"
            click.echo(f"A secret key of the kind {kind.tag}. {how}; its content is not shown.")
        elif b"PRIVATE KEY-----" in raw:
            how = "Encrypted" if is_sealed(raw) else "NOT encrypted"
            click.echo(f"A private key in PEM. {how}; its content is not shown.")
        elif raw.startswith(b"-----BEGIN X509 CRL-----"):
            click.echo("\n".join(describe.crl_lines(raw, now=now)))
        elif raw.startswith(b"-----BEGIN CERTIFICATE-----"):
            _show_certificates(raw, ca, crl, now)
        elif raw.startswith(b"signalfire/v1/"):
            _show_bundle(file, raw, root, now)
        else:
            raise click.ClickException(
                f"{file} is neither a certificate in PEM, nor a trust bundle, nor a key of ours."
            )


def _show_certificates(raw: bytes, ca: Path | None, crl: Path | None, now: datetime) -> None:
    try:
        certificates = x509.load_pem_x509_certificates(raw)
        for certificate in certificates:
            click.echo("\n".join(describe.certificate_lines(certificate, now=now)))
        authorities = [] if ca is None else x509.load_pem_x509_certificates(ca.read_bytes())
    except ValueError as unreadable:
        raise click.ClickException(f"the certificate cannot be read: {unreadable}. Restore the file.") from unreadable
    if ca is not None:
        spiffe_id = SpiffeId.from_certificate(certificates[0])
        key = (spiffe_id.trust_domain, spiffe_id.role)
        lists = crl or _list_beside(ca)
        try:
            issuers = Issuers.of(authorities, [] if lists is None else load_crls(lists.read_bytes()))
        except ValueError as unreadable:
            raise click.ClickException(f"{lists}: {unreadable}. Give the authority's own list with --crl.") from None
        verify_peer(raw, {key: issuers}, allowed_roles=list(Role), now=now)
        heeded = "there is no revocation list beside it" if lists is None else f"{lists} does not revoke it"
        click.echo(f"Checked: {ca} issued it to {spiffe_id}, it is in force, and {heeded}.")
        return
    if not all(describe.in_force(certificate, now) for certificate in certificates):
        raise click.ClickException("Not in force now; see above. Issue a new certificate.")
    click.echo("Not checked who issued it. To check, give the authority with --ca FILE.")


def _list_beside(ca: Path) -> Path | None:
    """The list that lies beside an authority: `officer.crl.pem` of `officer.crt.pem`, or of `officer-ca.crt.pem`."""
    name = ca.name.removesuffix(".crt.pem").removesuffix("-ca")
    beside = ca.with_name(f"{name}.crl.pem")
    return beside if ca.name.endswith(".crt.pem") and beside.exists() else None


def _show_bundle(file: Path, raw: bytes, root: Path | None, now: datetime) -> None:
    pinned = root or file.with_name("root.vkey")
    if not pinned.exists():
        raise click.ClickException(
            f"a bundle is believed only on the word of a pinned root, and there is no {pinned}. Give it with --root."
        )
    bundle = TrustBundle.open(raw, pinned.read_bytes().decode("ascii", "replace"), now=now)
    click.echo("\n".join(describe.bundle_lines(bundle, now=now)))
    click.echo(f"Checked: signed by the root in {pinned}.")


for _command in ROTATION:
    pki.add_command(_command)
