"""The options with which a command finds its gateway."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import grpc
from cryptography import x509

from gateway.cli.visible import visible
from gateway.client import Client, Credentials
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import Role, SpiffeId, dns_name

PARTLY = 3
"""Exit code: not everything that was asked for succeeded."""


def gateway_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --credentials, --gateway and --gateway-name; the command is given `connect`, which makes a Client."""
    return _options(command, required=True)


def gateway_options_if_any(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same for a command that can do without a gateway: `connect` is None where none is named."""
    return _options(command, required=False)


def unreached(error: ConnectionError) -> str:
    """What is told of a call that failed: where nothing answered, also where to look."""
    cause = error.__cause__
    if isinstance(cause, grpc.aio.AioRpcError) and "failed to connect" in (cause.details() or ""):
        return f"{error}\nIs the gateway running, and is the address right?"
    return str(error)


def _options(command: Callable[..., Any], *, required: bool) -> Callable[..., Any]:
    @click.option(
        "--credentials",
        required=required,
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Directory that `signalfire pki c2` or `pki officer` wrote: key, certificate, the gateways' authority.",
    )
    @click.option(
        "--gateway", "address", required=required, metavar="HOST:PORT", help="The national side of your gateway."
    )
    @click.option(
        "--gateway-name", default="a", show_default=True, help="Name of your gateway, as in spiffe://jpn/gateway/NAME."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, credentials: Path | None, address: str | None, gateway_name: str, **kwargs: Any) -> Any:
        if (credentials is None) != (address is None):
            raise click.UsageError("--credentials and --gateway go together")

        def connect() -> Client:
            assert credentials is not None
            assert address is not None
            found = Credentials.from_directory(credentials)
            server_name = _server_name(found, gateway_name)
            return Client(found, address, server_name, on_trouble=_say_once(), on_remark=_say)

        try:
            return command(*args, connect=None if credentials is None else connect, **kwargs)
        except IdentityError as refused:
            raise click.ClickException(str(refused)) from refused

    return wrapped


def _server_name(credentials: Credentials, gateway_name: str) -> str:
    """The name that the gateway must prove: a gateway of the nation that the client's own certificate is of."""
    try:
        certificate = x509.load_pem_x509_certificate(credentials.pair.certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{credentials.pair.certificate}: cannot be read: {error}") from error
    return dns_name(SpiffeId.of(SpiffeId.from_certificate(certificate).node, Role.GATEWAY, gateway_name))


def _say(text: str) -> None:
    click.echo(visible(text), err=True)


def _say_once() -> Callable[[str], None]:
    """Tells of trouble when it begins and when it changes, not at each try."""
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if text != last:
            click.echo(f"{text}; trying again until it works (Ctrl-C ends)", err=True)
        last = text

    return say
