from __future__ import annotations

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.kinds import Kind, kind_of
from tests.reports.examples import EXAMPLES


def test_the_kinds_are_exactly_the_fields_of_content() -> None:
    fields = report_pb2.Report.DESCRIPTOR.oneofs_by_name["content"].fields
    messages = {field.name: field.message_type.name for field in fields if field.message_type is not None}
    assert messages == {kind.field: kind.value for kind in Kind}


def test_the_kinds_are_exactly_those_that_a_c2_system_can_ask_for() -> None:
    defined = set(c2_pb2.ReportKind.values()) - {c2_pb2.REPORT_KIND_UNSPECIFIED}
    assert {kind.report_kind for kind in Kind} == defined


@pytest.mark.parametrize("kind", Kind)
def test_a_kind_is_found_again_under_each_of_its_names(kind: Kind) -> None:
    assert Kind(kind.value) is kind
    assert Kind.from_field(kind.field) is kind
    assert Kind.from_report_kind(kind.report_kind) is kind
    assert kind_of(EXAMPLES[kind]()) is kind


def test_a_report_without_content_has_no_kind() -> None:
    assert kind_of(report_pb2.Report()) is None


def test_an_unspecified_or_undefined_report_kind_is_no_kind() -> None:
    assert Kind.from_report_kind(c2_pb2.REPORT_KIND_UNSPECIFIED) is None
    assert Kind.from_report_kind(c2_pb2.ReportKind.ValueType(99)) is None


def test_corrections_cancellations_and_all_clears_withdraw_and_warnings_do_not() -> None:
    assert {kind for kind in Kind if kind.withdraws} == {Kind.CORRECTION, Kind.CANCELLATION, Kind.ALL_CLEAR}
