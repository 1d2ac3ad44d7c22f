"""What is wrong is refused one by one, with reasons, and leaves no trace; the stream and the gateways go on."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import ClientError
from gateway.reports.kinds import Kind
from tests.node.connecting import as_system, request_of, submit_bytes
from tests.node.nations import NARROW, UNGRANTED, World, cancellation, holdings, report, running, settle
from tests.reports.examples import change

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Three nations, for all tests here: each leaves them serving."""
    places = settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR", "USA")
    async with running(places) as running_world:
        yield running_world


async def refused(world: World, request: bytes, system: str = "sensors") -> c2_pb2.Refused:
    """Sends one bad request between two good ones. Returns the refusal once it is shown that nothing of it was kept."""
    before, between = report(), report()
    await world.carries("JPN", "KOR", "USA")
    kept = holdings(world.places["JPN"])
    (answer,) = await submit_bytes(world.places["JPN"], request, system=system)
    assert answer.WhichOneof("result") == "refused"
    assert holdings(world.places["JPN"]) == kept

    # In one stream with good ones: it ends nothing, and stands in no partner's way.
    answers = await submit_bytes(world.places["JPN"], request_of(before), request, request_of(between))
    assert [each.WhichOneof("result") for each in answers] == ["accepted", "refused", "accepted"]
    for good in (before, between):
        for partner in ("KOR", "USA"):
            await world.inboxes[partner].report(good.report_id)
    assert answer.refused.violations
    for violation in answer.refused.violations:
        assert violation.problem, violation
        assert violation.remedy, violation
    return answer.refused


def fields(refusal: c2_pb2.Refused) -> set[str]:
    """Where the violations are."""
    return {violation.field for violation in refusal.violations}


YEAR_S = 366 * 24 * 3600

INVALID: list[tuple[str, str, Callable[[], report_pb2.Report]]] = [
    (
        "a latitude of 91 degrees",
        "launch_detection.launch_point.latitude_deg",
        lambda: report(launch_detection__launch_point__latitude_deg=91.0),
    ),
    (
        "a latitude that is no number",
        "launch_detection.launch_point.latitude_deg",
        lambda: report(launch_detection__launch_point__latitude_deg=float("nan")),
    ),
    (
        "an infinite height",
        "launch_detection.launch_point.height_m",
        lambda: report(launch_detection__launch_point__height_m=float("inf")),
    ),
    (
        "an enum value that nobody defined",
        "launch_detection.missile_class",
        lambda: report(launch_detection__missile_class=99),
    ),
    ("an undefined precedence", "precedence", lambda: report(precedence=17)),
    ("a time in the far future", "report_time", lambda: report(report_time__seconds=int(time.time()) + YEAR_S)),
    ("a time in the far past", "report_time", lambda: report(report_time__seconds=1)),
    ("no marking", "marking", lambda: report(marking=None)),
    ("a marking without a level", "marking.classification", lambda: report(marking__classification=0)),
    ("no traffic class", "traffic_class", lambda: report(traffic_class=0)),
    ("no precedence", "precedence", lambda: report(precedence=0)),
    ("no content", "content", lambda: report(launch_detection=None)),
    ("an originator that no country is", "originator_node", lambda: report(originator_node="XXX")),
    ("an originator that is no code", "originator_node", lambda: report(originator_node="Japan")),
    ("no originator", "originator_node", lambda: report(originator_node="")),
    ("another nation as originator", "originator_node", lambda: report(originator_node="USA")),
    ("an identifier that is no UUID", "report_id", lambda: report(report_id="42")),
]


@pytest.mark.parametrize(("field", "make"), [pytest.param(f, m, id=name) for name, f, m in INVALID])
async def test_a_report_that_breaks_a_rule_is_refused_at_the_field_that_does(
    world: World, field: str, make: Callable[[], report_pb2.Report]
) -> None:
    refusal = await refused(world, request_of(make()))
    assert refusal.code == c2_pb2.REFUSAL_CODE_INVALID
    assert field in fields(refusal)


async def test_everything_that_is_wrong_is_said_at_once(world: World) -> None:
    bad = report(
        originator_node="KOR", traffic_class=0, marking=None, launch_detection__launch_point__longitude_deg=181.0
    )
    refusal = await refused(world, request_of(bad))
    assert fields(refusal) >= {
        "originator_node",
        "traffic_class",
        "marking",
        "launch_detection.launch_point.longitude_deg",
    }


async def test_the_log_names_what_was_wrong_with_a_refused_report_and_holds_nothing_of_its_content(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    bad = report(report_id="42\nforged", threat__launch_area="\x1b[2JSECRET", launch_detection__object_count=4242)
    with caplog.at_level(logging.INFO):
        await submit_bytes(world.places["JPN"], request_of(bad))
    (line,) = (record.getMessage() for record in caplog.records if " refused (" in record.getMessage())
    assert line == (
        "report '42\\nforged' of spiffe://jpn/c2/sensors refused (invalid): report_id, threat.launch_area,"
        " launch_detection.object_count"
    )


async def test_a_report_of_one_mebibyte_is_refused_for_its_size_and_does_not_end_the_stream(world: World) -> None:
    huge = report(threat__launch_area="x" * (1 << 20))
    refusal = await refused(world, request_of(huge))
    assert refusal.code == c2_pb2.REFUSAL_CODE_MALFORMED
    assert "bytes" in refusal.violations[0].problem


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda whole: whole[:-3], id="truncated"),
        pytest.param(lambda whole: b"\xff" * 40, id="no protobuf at all"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: b"\x0a\x7f" + whole[:20], id="a length beyond the end"),
    ],
)
async def test_bytes_that_are_no_report_are_refused_as_malformed(world: World, spoil: Callable[[bytes], bytes]) -> None:
    refusal = await refused(world, spoil(request_of(report())))
    assert refusal.code == c2_pb2.REFUSAL_CODE_MALFORMED


NOT_GRANTED: list[tuple[str, str, Callable[[], report_pb2.Report]]] = [
    ("a station", "originator_station", lambda: granted(originator_station="radar-2")),
    ("a station whose name only begins alike", "originator_station", lambda: granted(originator_station="radar-12")),
    ("a kind", "content", lambda: granted(Kind.TRACK, precedence=report_pb2.PRECEDENCE_FLASH)),
    ("a traffic class", "traffic_class", lambda: granted(traffic_class=report_pb2.TRAFFIC_CLASS_LIVE)),
    ("a precedence", "precedence", lambda: granted(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE)),
    (
        "a marking",
        "marking.classification",
        lambda: granted(marking__classification=report_pb2.CLASSIFICATION_SECRET),
    ),
]


def granted(kind: Kind = Kind.LAUNCH_DETECTION, **changes: object) -> report_pb2.Report:
    """A report that the narrow system may push, but for the changes."""
    made = report(
        kind,
        originator_station="radar-1",
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        marking__classification=report_pb2.CLASSIFICATION_CONFIDENTIAL,
    )
    return change(made, **changes)


@pytest.mark.parametrize(("field", "make"), [pytest.param(f, m, id=name) for name, f, m in NOT_GRANTED])
async def test_a_report_beyond_the_grant_of_its_system_is_refused(
    world: World, field: str, make: Callable[[], report_pb2.Report]
) -> None:
    good = granted(originator_station="ship-7")
    kept = holdings(world.places["JPN"])
    (answer,) = await submit_bytes(world.places["JPN"], request_of(make()), system=NARROW)
    assert answer.refused.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    assert field in fields(answer.refused)
    assert all(violation.problem and violation.remedy for violation in answer.refused.violations)
    assert holdings(world.places["JPN"]) == kept
    assert (await world.push_one("JPN", good, system=NARROW)).accepted
    await world.inboxes["KOR"].report(good.report_id)


async def test_a_system_without_a_grant_may_neither_push_nor_read_nor_ask(world: World) -> None:
    stranger = world.places["JPN"].client(UNGRANTED)
    with pytest.raises(ClientError, match="no grant to push"):
        await world.push_one("JPN", report(), system=UNGRANTED)
    with pytest.raises(ClientError, match="no grant to read"):
        await world.collect("JPN", system=UNGRANTED)
    with pytest.raises(ClientError, match="no grant"):
        await stranger.status()
    await world.carries("JPN", "KOR", "USA")


async def test_a_system_granted_to_push_may_not_read_nor_the_other_way_round(world: World) -> None:
    with pytest.raises(ClientError, match="no grant to read"):
        await world.collect("JPN", system="sensors")
    with pytest.raises(ClientError, match="no grant to push"):
        await world.push_one("JPN", report(), system="command")


async def test_the_cancellation_of_a_partners_report_is_refused_and_the_report_stands(world: World) -> None:
    partners = await world.carries("USA", "JPN", "KOR")
    refusal = await refused(world, request_of(cancellation(partners.report_id)))
    assert refusal.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
    assert fields(refusal) == {"cancellation.report_ids[0]"}
    assert partners.report_id not in world.inboxes["KOR"].withdrawn
    assert partners.report_id not in world.inboxes["JPN"].withdrawn


async def test_the_cancellation_of_a_report_that_nobody_knows_is_refused_naming_which(world: World) -> None:
    own = await world.carries("JPN", "KOR", "USA")
    unknown = report().report_id
    refusal = await refused(world, request_of(cancellation(own.report_id, unknown)))
    assert refusal.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
    assert fields(refusal) == {"cancellation.report_ids[1]"}
    assert own.report_id not in world.inboxes["KOR"].withdrawn


async def test_an_identifier_that_was_used_is_refused_with_other_content_and_answered_again_with_the_same(
    world: World,
) -> None:
    first = await world.carries("JPN", "KOR", "USA")
    other = report(report_id=first.report_id)
    refusal = await refused(world, request_of(other))
    assert refusal.code == c2_pb2.REFUSAL_CODE_CONFLICT
    assert fields(refusal) == {"report_id"}

    kept = holdings(world.places["JPN"])
    again = await world.push_one("JPN", first)
    assert again.accepted
    assert again.duplicate
    assert holdings(world.places["JPN"]) == kept


def with_unknown_fields(pushed: report_pb2.Report, secret: bytes) -> bytes:
    """The request of a report with fields that the contract does not define, in four of its messages."""
    alien = b"\xfa\xff\x01" + bytes([len(secret)]) + secret  # field 4095, length-delimited

    def nested(number: int, content: bytes) -> bytes:
        tag = number << 3 | 2
        head = bytes([tag]) if tag < 128 else bytes([tag & 0x7F | 0x80, tag >> 7])
        assert len(content) < 128
        return head + bytes([len(content)]) + content

    # Protobuf merges a message that comes twice: these parts add the alien fields to what stands there already.
    raw = pushed.SerializeToString() + alien
    raw += nested(12, alien)  # threat
    raw += nested(11, alien)  # marking
    raw += nested(20, nested(3, alien))  # launch_detection.launch_point
    length = len(raw)
    return b"\x0a" + bytes([length & 0x7F | 0x80, length >> 7]) + raw + alien


async def test_fields_that_the_contract_does_not_define_are_dropped_and_reach_nobody(world: World) -> None:
    secret = b"smuggled-" + str(time.time_ns()).encode()
    pushed = report(node="JPN")
    request = with_unknown_fields(pushed, secret)
    assert secret in c2_pb2.SubmitRequest.FromString(request).reports[0].launch_detection.SerializeToString()
    assert secret in c2_pb2.SubmitRequest.FromString(request).reports[0].threat.SerializeToString()

    (answer,) = await submit_bytes(world.places["JPN"], request)
    assert answer.WhichOneof("result") == "accepted"
    for partner in ("KOR", "USA"):
        delivered = await world.inboxes[partner].report(pushed.report_id)
        assert delivered.report.launch_detection.launch_point.latitude_deg == pytest.approx(39.2)
        assert secret not in delivered.report.SerializeToString()
    (own,) = [
        item.report
        for item in await world.collect("JPN", include_own=True, originator_nodes=["JPN"])
        if hasattr(item, "report") and item.report.report_id == pushed.report_id
    ]
    assert own == pushed


async def test_a_client_that_sends_nothing_but_noise_keeps_nobody_from_being_served(world: World) -> None:
    async with as_system(world.places["JPN"], "sensors") as opened:
        submit: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
            "/signalfire.v1.C2Service/Submit", request_serializer=None, response_deserializer=None
        )
        noise = submit()
        for length in range(200):
            await noise.write(b"\xff" * length)
        await world.carries("JPN", "KOR", "USA")
        noise.cancel()
