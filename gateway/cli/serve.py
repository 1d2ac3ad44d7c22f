"""`signalfire serve`: runs a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final, NoReturn

import click

from gateway import config as configuration
from gateway.identity.errors import IdentityError
from gateway.ledger.errors import LedgerError
from gateway.node import Node, StartError
from gateway.seal.errors import SealError
from gateway.watchdog import ServiceManager, keep_telling
from policy.errors import PolicyError

_FAULTS: Final = (
    configuration.ConfigError,
    PolicyError,
    IdentityError,
    StartError,
    LedgerError,
    SealError,
    OSError,
)
"""What is told in a sentence."""


@click.command()
@click.option(
    "--config",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The gateway's configuration (docs/configuration.md).",
)
@click.option("--check", is_flag=True, help="Check configuration, keys, policy and trust bundles, say so, and stop.")
@click.option(
    "--clock-is-right",
    is_flag=True,
    help="Believe this machine's clock although it is behind what is on record; put on record.",
)
@click.option(
    "--restored",
    is_flag=True,
    help="The store was lost, or restored from a copy: begin the next generation of every ledger at once.",
)
@click.option(
    "--log-level",
    default="INFO",
    type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"]),
    show_default=True,
    help="The least urgent messages that are logged, on standard error.",
)
def serve(path: Path, check: bool, clock_is_right: bool, restored: bool, log_level: str) -> None:
    """Run the gateway of one nation until it is told to stop (SIGTERM or SIGINT).

    Everything is checked before a port is opened. Certificates and partners' bundles are taken up when their files
    change, without a restart.

    After a store was lost, or restored from a copy, start once with --restored (docs/recovery.md): so nothing is signed
    that contradicts what partners hold.

    \b
    Exit code 0: it was told to stop, and has; 1: it could not start, or a part of it failed.
    Examples: signalfire serve --config jpn/gateway.yaml --check
              signalfire serve --config jpn/gateway.yaml
    """
    logging.basicConfig(
        level=log_level,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.Formatter.converter = time.gmtime
    try:
        node = Node(configuration.load(path), clock_is_right=clock_is_right, restored=restored)
        if check:
            faults = node.refused_files()
            for fault in faults:
                click.echo(fault, err=True)
            if faults:
                raise click.ClickException("nothing would be released, or not what is meant")
            node.require_own_keys()
            for remark in node.remarks():
                click.echo(f"{path}: note: {remark}", err=True)
            refused = node.refused_bundles()
            for partner, (why, recorded) in refused.items():
                instead = f"; sequence {recorded}, which is on record, is in use" if recorded else ""
                click.echo(f"{path}: the trust bundle of {partner} is refused: {why}{instead}", err=True)
            if not all(recorded for _, recorded in refused.values()):
                raise click.ClickException("nothing would go to these partners, and nothing come from them")
            click.echo(f"{path}: configuration, keys, policy and trust bundles are in order")
            return
    except _FAULTS as error:
        raise click.ClickException(str(error)) from error
    _end(_served(node))


def _served(node: Node) -> int:
    """Runs a gateway until it is told to stop, or fails. Returns the exit code."""
    try:
        asyncio.run(_run(node))
    except _FAULTS as error:
        click.ClickException(str(error)).show()
        return 1
    except Exception:  # whatever it was: it is told in full, and the process ends
        traceback.print_exc()
        return 1
    return 0


def _end(code: int) -> NoReturn:
    """Ends the process. All is closed and durable; what would follow is taking the interpreter down, in which threads
    of gRPC have been seen to wait for ever, and a gateway that does not end is not started again.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


COLLECTED_EVERY: Final = 10_000
"""Objects that are made, and not gone yet, before the garbage collector looks for cycles among them. Reports make no
cycles, and by default (700) it looks through a batch of them many times."""


def _spare_the_collector() -> None:
    """Has the garbage collector pass over what is there for good, and look less often at what comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_EVERY, *gc.get_threshold()[1:])


SWITCH_S: Final = 0.001
"""Seconds after which a thread has to let go of the interpreter where another waits for it: the one that answers and
sends waits for the one that seals, at several places on an alert's way. Python's own 0.005 is for throughput."""


async def _run(node: Node) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    manager = ServiceManager.of(os.environ, os.getpid())
    telling: asyncio.Task[None] | None = None
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await node.start()
        _spare_the_collector()
        sys.setswitchinterval(SWITCH_S)
        manager.tell(READY="1")
        telling = asyncio.create_task(keep_telling(manager, node.alive, node.in_short))
        serving = asyncio.create_task(node.serve())
        stopped = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if serving in done:
            # No part of a gateway ends by itself: whatever did takes the gateway with it, loudly.
            serving.result()
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    finally:
        manager.tell(STOPPING="1")
        if telling is not None:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        await node.stop()
