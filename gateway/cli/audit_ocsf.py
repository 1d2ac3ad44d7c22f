"""Recorded decisions as events of the Open Cybersecurity Schema Framework, version 1.6.0, class 6003 (API Activity).

A decision is told as an API call that was authorised or not: who pushed the report is the actor, `actor.authorizations`
holds the decision and the policy by which it was made, the gateway is the source and the partner the destination, and
the report is the resource. What the schema has no place for stands in `unmapped`.
"""

from __future__ import annotations

from typing import Any, Final

from signalfire.v1 import ledger_pb2

import gateway
from gateway.cli.audit_rows import ATTENTION, FORK, Row, outcome_of, precedence_of, time_text, traffic_class_of

SCHEMA: Final = "1.6.0"
"""Version of the schema."""

_CATEGORY, _CLASS = 6, 6003
_READ, _OTHER = 2, 99
_SUCCESS, _FAILURE, _OTHER_STATUS = 1, 2, 99
_INFORMATIONAL, _MEDIUM, _HIGH, _CRITICAL = 1, 3, 4, 5

_STATUS: Final = {
    ledger_pb2.OUTCOME_RELEASED: (_SUCCESS, "Success"),
    ledger_pb2.OUTCOME_WITHHELD: (_FAILURE, "Failure"),
}


def event(row: Row) -> dict[str, Any]:
    """A row as one event; a value for `json.dumps`."""
    return _happened(row, row.event) if row.event is not None else _decided(row)


def _decided(row: Row) -> dict[str, Any]:
    assert row.record is not None
    assert row.decision is not None
    record, decision = row.record, row.decision
    status_id, status = _STATUS.get(decision.outcome, (_OTHER_STATUS, "Held"))
    told = _common(row, _OTHER, "Decide", f"{row.ledger}/{row.index}/{decision.partner}", "decision")
    policy: dict[str, Any] = {"name": decision.rule, "uid": record.policy_digest.hex(), "is_applied": True}
    if decision.agreement:
        policy["group"] = {"name": decision.agreement, "type": "agreement"}
    return told | {
        "severity_id": _HIGH if decision.error else _INFORMATIONAL,
        "status_id": status_id,
        "status": status,
        "status_detail": decision.error or decision.rule,
        "message": f"{record.kind} {record.report_id} {outcome_of(decision)} for {decision.partner} by {decision.rule}",
        "actor": {
            "app_uid": record.submitted_by or "not recorded",
            "authorizations": [{"decision": outcome_of(decision).capitalize(), "policy": policy}],
        },
        "api": {"operation": "release", "service": {"name": "signalfire"}, "request": {"uid": record.report_id}},
        "dst_endpoint": {"name": decision.partner},
        "resources": [
            {
                "uid": record.report_id,
                "name": record.event_id,
                "type": record.kind,
                "namespace": record.originator_node,
                "labels": [traffic_class_of(record), precedence_of(record)],
            }
        ],
        "unmapped": {
            "posture": record.posture,
            "report_digest": record.report_digest.hex(),
            "accepted_time": time_text(record.accepted_time),
            "fields": list(decision.fields),
            "changed": list(decision.changed),
            "release_ledger": decision.ledger,
            "hold_until": time_text(decision.hold_until),
            "withdrawals": decision.withdrawals,
        }
        | ({"release_index": decision.index} if decision.HasField("index") else {}),
    }


def _happened(row: Row, happened: ledger_pb2.NodeEvent) -> dict[str, Any]:
    who, operation, activity, name = f"signalfire {row.node}", happened.kind or "record", _OTHER, "Record"
    if happened.kind == "audit-access":
        # "<SPIFFE ID>: <call>: <what>", as the gateway records it.
        who, _, asked = happened.detail.partition(": ")
        operation, activity, name = asked.partition(": ")[0] or happened.kind, _READ, "Read"
    told = _common(row, activity, name, f"{row.ledger}/{row.index}", happened.kind)
    severity = _CRITICAL if happened.kind == FORK else _INFORMATIONAL
    return told | {
        "severity_id": _MEDIUM if happened.kind in ATTENTION else severity,
        "message": f"{happened.kind}: {happened.detail}",
        "actor": {"app_uid": who},
        "api": {"operation": operation, "service": {"name": "signalfire"}},
        "unmapped": {"evidence": [each.hex() for each in happened.evidence]},
    }


def _common(row: Row, activity: int, name: str, uid: str, code: str) -> dict[str, Any]:
    return {
        "category_uid": _CATEGORY,
        "category_name": "Application Activity",
        "class_uid": _CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": name,
        "type_uid": _CLASS * 100 + activity,
        "time": row.time.ToNanoseconds() // 1_000_000,
        "src_endpoint": {"name": row.node, "svc_name": "signalfire"},
        "metadata": {
            "version": SCHEMA,
            "product": {"name": "Signalfire", "vendor_name": "Signalfire", "version": gateway.__version__},
            "uid": uid,
            "event_code": code,
            "log_name": row.ledger,
            "original_time": time_text(row.time),
            "sequence": row.index,
        },
    }
