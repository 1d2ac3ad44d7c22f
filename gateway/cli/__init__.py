"""The command `signalfire`: one file a group of commands.

Exit codes: 0 all is well; 1 something was refused or failed, and the message says what; 2 the command line was wrong;
3 not everything that was asked for succeeded (some reports were refused, a store is not sound).
"""

from __future__ import annotations

import importlib
from typing import Final

import click

import gateway

COMMANDS: Final = {
    "audit": "gateway.cli.audit",
    "demo": "gateway.cli.demo",
    "doctor": "gateway.cli.doctor",
    "keys": "gateway.cli.keys",
    "ledger": "gateway.cli.ledger_group",
    "pki": "gateway.cli.pki",
    "policy": "gateway.cli.policy",
    "serve": "gateway.cli.serve",
    "status": "gateway.cli.status",
    "submit": "gateway.cli.submit",
    "subscribe": "gateway.cli.subscribe",
}
"""The commands, and the module in which each stands under its name. It is imported when it is asked for: a gateway that
starts need not read what draws a demonstration's tables.
"""


class Commands(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(gateway.__version__, prog_name="signalfire")
def main() -> None:
    """Share missile warnings directly with partner nations: signed, sealed and provable, with no hub.

    \b
    See it work:         signalfire demo
    Set up a nation:     signalfire pki init JPN --dir pki/jpn
    Run its gateway:     signalfire serve --config jpn/gateway.yaml
    Push reports:        signalfire submit --credentials jpn/c2/sensor-net --gateway 127.0.0.1:7101 reports.jsonl
    Receive reports:     signalfire subscribe --credentials jpn/c2/command --gateway 127.0.0.1:7101 --class LIVE
    Ask how it is:       signalfire status --credentials jpn/c2/command --gateway 127.0.0.1:7101
    Check a store:       signalfire ledger verify --config jpn/gateway.yaml
    Ask why:             signalfire audit explain REPORT --credentials jpn/officer --gateway 127.0.0.1:7101
    Write a policy:      signalfire policy init jpn-policy --node JPN --partner KOR

    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 partly refused or not sound.
    """
