from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.errors import MalformedReport
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import UNKNOWN_FIELDS, canonical, parse_report, split_request
from gateway.reports.validate import validate_released, validate_submitted
from tests.reports.examples import EXAMPLES, NODE, NOW, cancellation, correction, launch_detection, track

LIMITS = ReportLimits()
MOST, MOST_BYTES = 256, 1 << 20
WIDE = st.one_of(st.integers(0, 20), st.integers(0, 2**30))


def reports_unread() -> Any:
    """The message `SubmitRequest` as it is on the wire, with reports that are bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="tests/reports/test_parse.proto", syntax="proto3")
    file.message_type.add(name="SubmitRequest").field.add(
        name="reports",
        number=c2_pb2.SubmitRequest.REPORTS_FIELD_NUMBER,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("SubmitRequest"))


UNREAD = reports_unread()


def parse_requested(data: bytes) -> list[report_pb2.Report]:
    """The reports of a request."""
    return [parse_report(each, LIMITS) for each in split_request(data, MOST, MOST_BYTES)]


def unknown_field(payload: bytes, number: int = 900) -> bytes:
    """A length-delimited field that the contract does not define."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def judge(data: bytes) -> None:
    """Reads and judges at both doors; lets through no exception but that of this room."""
    try:
        report = parse_report(data, LIMITS)
    except MalformedReport:
        return
    validate_submitted(report, node=NODE, now=NOW, limits=LIMITS)
    validate_released(report, origin=NODE, limits=LIMITS)
    kind_of(report)
    assert parse_report(canonical(report), LIMITS) == report or report != report


@pytest.mark.parametrize("kind", Kind)
def test_what_was_serialised_is_read_back(kind: Kind) -> None:
    report = EXAMPLES[kind]()
    assert parse_report(canonical(report), LIMITS) == report
    assert parse_requested(c2_pb2.SubmitRequest(reports=[report, report]).SerializeToString()) == [report, report]


def test_bytes_beyond_the_limit_are_refused_for_their_number_and_not_for_what_they_hold() -> None:
    garbage = b"\xff" * (MOST_BYTES + 1)
    with pytest.raises(MalformedReport, match="has 1048577 bytes, more than the 16384 that are taken"):
        parse_report(garbage, LIMITS)
    with pytest.raises(MalformedReport, match="a request of 1048577 bytes, more than the 1048576 that are taken"):
        split_request(garbage, MOST, MOST_BYTES)


def test_a_request_of_as_many_reports_as_are_taken_is_read_and_one_more_is_not() -> None:
    assert len(split_request(b"\x0a\x00" * MOST, MOST, MOST_BYTES)) == MOST
    with pytest.raises(MalformedReport, match="is one of more than 256 in a request"):
        # What follows is not looked at.
        split_request(b"\x0a\x00" * (MOST + 1) + b"\xff" * 100, MOST, MOST_BYTES)


def test_a_request_may_have_some_fields_that_the_contract_does_not_define_and_not_many() -> None:
    others = [b"\x10\x96\x01", b"\x11" + bytes(8), unknown_field(b"else"), b"\x1d" + bytes(4), b"\x08\x01"]
    some = (others * UNKNOWN_FIELDS)[:UNKNOWN_FIELDS]
    assert split_request(b"".join(some) + b"\x0a\x01x", MOST, MOST_BYTES) == [b"x"]
    with pytest.raises(MalformedReport, match="more than 64 fields that the contract does not define"):
        split_request(b"".join(some) + b"\x0a\x01x" + others[0] + b"\xff" * 100, MOST, MOST_BYTES)


def requests() -> st.SearchStrategy[bytes]:
    """Fields of a request, right and wrong, one after another."""
    numbers, few = st.integers(0, 2**70).map(varint), st.binary(max_size=8)
    tags = st.one_of(
        st.just(b"\x0a"), st.builds(lambda field, wire: varint(field << 3 | wire), WIDE, st.integers(0, 7))
    )
    whole = st.builds(lambda tag, value: tag + varint(len(value)) + value, tags, few)
    return st.lists(st.one_of(whole, st.builds(bytes.__add__, tags, st.one_of(numbers, few))), max_size=6).map(b"".join)


TOO_LARGE = re.compile(rb"[\x80-\xff]{9}[\x02-\x7f]")
"""A number of more than 64 bits, of which protobuf's reader here drops those beyond."""


@given(requests())
@example(b"\n\x00\x08" + b"\x80" * 9 + b"\x02")
@settings(max_examples=500)
def test_a_request_is_taken_apart_as_protobuf_does_it(data: bytes) -> None:
    try:
        whole = UNREAD.FromString(data)
    except DecodeError:
        with pytest.raises(MalformedReport):
            split_request(data, MOST, MOST_BYTES)
        return
    try:
        assert split_request(data, MOST, MOST_BYTES) == list(whole.reports)
    except MalformedReport:
        # Groups and numbers that are too large, which are not taken, or no report at all.
        unknown = UnknownFieldSet(whole)
        groups = any(isinstance(unknown[at].data, UnknownFieldSet) for at in range(len(unknown)))
        assert groups or TOO_LARGE.search(data) or not whole.reports


def test_a_report_that_cannot_be_read_stands_in_no_other_s_way() -> None:
    good = canonical(track())
    whole = unknown_field(good, 1) + unknown_field(b"\xff\xff", 1) + unknown_field(b"else") + unknown_field(b"", 1)
    assert list(split_request(whole, MOST, MOST_BYTES)) == [good, b"\xff\xff", b""]
    for cut in range(1, 5):
        with pytest.raises(MalformedReport, match=r"not one whole signalfire\.v1\.SubmitRequest"):
            split_request(unknown_field(good, 1)[:-cut], MOST, MOST_BYTES)


def test_a_report_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    report = cancellation()
    report.cancellation.explanation = ""
    fill = LIMITS.max_report_bytes - report.ByteSize() - 10
    report.cancellation.explanation = "x" * fill
    while report.ByteSize() < LIMITS.max_report_bytes:
        report.cancellation.explanation += "x"
    assert parse_report(canonical(report), LIMITS) == report
    assert parse_requested(c2_pb2.SubmitRequest(reports=[report]).SerializeToString()) == [report]
    report.cancellation.explanation += "x"
    with pytest.raises(MalformedReport, match="16385 bytes"):
        parse_report(canonical(report), LIMITS)
    with pytest.raises(MalformedReport, match="16385 bytes"):
        parse_requested(c2_pb2.SubmitRequest(reports=[report]).SerializeToString())


def test_a_request_without_a_report_is_refused() -> None:
    for data in (b"", unknown_field(b"something else")):
        with pytest.raises(MalformedReport, match="not in the request"):
            split_request(data, MOST, MOST_BYTES)


@pytest.mark.parametrize("kind", Kind)
def test_a_truncated_report_is_refused_or_is_another_report_but_never_anything_else(kind: Kind) -> None:
    data = canonical(EXAMPLES[kind]())
    refused = 0
    for end in range(len(data)):
        judge(data[:end])
        try:
            assert parse_report(data[:end], LIMITS) != EXAMPLES[kind]()
        except MalformedReport:
            refused += 1
    assert refused > len(data) // 2


def test_the_error_of_a_truncated_report_says_what_to_do() -> None:
    with pytest.raises(MalformedReport) as refused:
        parse_report(canonical(track())[:-1], LIMITS)
    assert str(refused.value) == (
        "The report cannot be read: its 507 bytes are not one whole signalfire.v1.Report with all text in UTF-8."
        " To mend it, serialise it with the published schema and send all of its bytes."
    )
    assert refused.value.violation.field == ""


@given(st.binary(max_size=600))
@settings(max_examples=300)
def test_random_bytes_are_refused_or_judged(data: bytes) -> None:
    judge(data)


@given(kind=st.sampled_from(Kind), data=st.data())
@settings(max_examples=300)
def test_a_report_with_bytes_changed_on_the_way_is_refused_or_judged(kind: Kind, data: st.DataObject) -> None:
    mutated = bytearray(canonical(EXAMPLES[kind]()))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    judge(bytes(mutated))


@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_text_that_is_not_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedReport, match="UTF-8"):
        parse_report(b"\x0a" + varint(len(text)) + text, LIMITS)


def test_deep_nesting_is_refused() -> None:
    start, end = varint(900 << 3 | 3), varint(900 << 3 | 4)
    with pytest.raises(MalformedReport):
        parse_report(start * 2_000 + end * 2_000, LIMITS)


def test_a_wire_type_that_protobuf_does_not_define_is_refused() -> None:
    for wire_type in (6, 7):
        with pytest.raises(MalformedReport):
            parse_report(bytes([1 << 3 | wire_type, 0]), LIMITS)


def test_a_known_field_with_another_wire_type_is_dropped_as_unknown() -> None:
    assert parse_report(bytes([1 << 3 | 0, 7]), LIMITS) == report_pb2.Report()


def test_unknown_fields_are_dropped_at_every_level() -> None:
    extra = unknown_field(b"leak")
    launch = launch_detection()
    inner = launch.launch_detection.launch_point.SerializeToString() + extra
    middle = launch.launch_detection.SerializeToString() + b"\x1a" + varint(len(inner)) + inner + extra
    data = canonical(launch) + varint(20 << 3 | 2) + varint(len(middle)) + middle + extra
    reference = b"\x0a\x03KOR" + extra
    data += varint(13 << 3 | 2) + varint(len(reference)) + reference
    report = parse_report(data, LIMITS)
    assert b"leak" not in canonical(report)
    launch.references.add(originator_node="KOR")
    assert report == launch
    assert parse_requested(unknown_field(data, 1) + extra) == [launch]
    assert b"leak" not in canonical(parse_requested(unknown_field(data, 1) + extra)[0])


def test_of_two_kinds_in_one_report_the_last_one_counts() -> None:
    both = canonical(track()) + report_pb2.Report(all_clear=report_pb2.AllClear()).SerializeToString()
    report = parse_report(both, LIMITS)
    assert kind_of(report) is Kind.ALL_CLEAR
    assert not report.HasField("track")


def test_of_one_value_that_comes_twice_the_last_counts_and_lists_run_on() -> None:
    again = report_pb2.Report(event_id="later", marking=report_pb2.Marking(releasable_to=["AUS"]))
    report = parse_report(canonical(track()) + again.SerializeToString(), LIMITS)
    assert report.event_id == "later"
    assert list(report.marking.releasable_to) == ["KOR", "USA", "AUS"]


def test_equal_reports_have_equal_bytes_however_they_were_written() -> None:
    report = correction()
    backwards = b""
    for field, _ in reversed(report.ListFields()):
        alone = report_pb2.Report.FromString(canonical(report))
        for other, _ in report.ListFields():
            if other.name != field.name:
                alone.ClearField(other.name)  # type: ignore[arg-type]  # a name read from the descriptor
        backwards += canonical(alone)
    assert backwards != canonical(report)
    assert canonical(parse_report(backwards, LIMITS)) == canonical(report)


def test_the_canonical_form_has_fields_by_number_and_keeps_zeros_that_were_set() -> None:
    report = report_pb2.Report(source_sequence=0, report_id="a")
    report.track.position.latitude_deg = 0.0
    report.track.quality = 0
    by_hand = "0a0161" + "2000" + "aa010d" + "2a09" + "090000000000000000" + "4000"
    assert canonical(report).hex() == by_hand
