"""The command group `ledger`, with the commands that stand in files of their own."""

from __future__ import annotations

from gateway.cli.ledger import ledger
from gateway.cli.ledger_evidence import check_evidence_command, evidence_command
from gateway.cli.ledger_reconcile import reconcile_command

ledger.add_command(check_evidence_command)
ledger.add_command(evidence_command)
ledger.add_command(reconcile_command)

__all__ = ["ledger"]
