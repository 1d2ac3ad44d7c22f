"""The command `signalfire`: one file a group of commands.

Exit codes: 0 all is well; 1 something was refused or failed, and the message says what; 2 the command line was wrong;
3 not everything that was asked for succeeded (some reports were refused, a store is not sound).
"""

from __future__ import annotations

import click

import gateway
from gateway.cli.audit import audit
from gateway.cli.demo import demo
from gateway.cli.doctor import doctor
from gateway.cli.keys import keys
from gateway.cli.ledger import ledger
from gateway.cli.ledger_evidence import check_evidence_command, evidence_command
from gateway.cli.ledger_reconcile import reconcile_command
from gateway.cli.pki import pki
from gateway.cli.policy import policy
from gateway.cli.serve import serve
from gateway.cli.status import status
from gateway.cli.submit import submit
from gateway.cli.subscribe import subscribe


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


ledger.add_command(check_evidence_command)
ledger.add_command(evidence_command)
ledger.add_command(reconcile_command)
main.add_command(audit)
main.add_command(demo)
main.add_command(doctor)
main.add_command(keys)
main.add_command(ledger)
main.add_command(pki)
main.add_command(policy)
main.add_command(serve)
main.add_command(status)
main.add_command(submit)
main.add_command(subscribe)
