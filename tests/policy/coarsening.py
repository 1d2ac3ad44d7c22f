"""Copies as a rule obliges, and what of them changed."""

from __future__ import annotations

from signalfire.v1 import report_pb2

from policy.obligations import Grid, Obligations, Remark, apply
from policy.vocabulary import Classification

COARSE = Obligations(Grid(100_000.0), 100.0, 60, Remark(Classification.RESTRICTED, ("COARSE",), frozenset({"USA"})))


def coarse(report: report_pb2.Report, obligations: Obligations = COARSE, node: str = "JPN") -> report_pb2.Report:
    """The copy that goes; the report itself stays as it is."""
    copy = report_pb2.Report()
    copy.CopyFrom(report)
    apply(copy, obligations, node)
    return copy


def named(copy: report_pb2.Report) -> list[str]:
    """The fields that the derivations of a copy name."""
    return [path for derivation in copy.derivations for path in derivation.fields]
