"""Entries, what is sealed in them, and what goes through tunnels: what a partner with true keys can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.exchange.tunnels import cells
from gateway.ledger.errors import LedgerError
from gateway.release import replica
from gateway.release.groups import NotInGroups, parts_of, pieces_shown
from gateway.release.onward import NotBelieved, verify
from gateway.release.opening import Opener
from gateway.release.witness import WitnessError
from gateway.release.witness import read as read_witness
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import clock_warning, validate_released
from gateway.seal.commitment import commit
from gateway.seal.entry import encode_canonical, parse_canonical, parse_header, require_place, unpad
from gateway.seal.epoch import Epoch
from gateway.seal.errors import SealError
from gateway.seal.recovery import unwrap_record_key
from gateway.seal.wrap import parse_opening
from tests.fuzz.target import Target
from tests.fuzz.targets.ledger import FLASH, KOR
from tests.release.world import partner_of
from tests.reports.examples import EXAMPLES, NOW, cancellation
from tests.seal.parties import JPN, seeded

LIMITS: Final = ReportLimits()
_OWN: Final = KOR.sealing[0]
_PARTNERS: Final = {node: partner_of(node) for node in ("JPN", "USA")}


def _epoch() -> tuple[Epoch, bytes]:
    return Epoch.open_new(str(FLASH), 0, [("KOR", _OWN.public), ("JPN", JPN.public)], seeded("fuzz"))


def _entries() -> Sequence[bytes]:
    epoch, opening = _epoch()
    return [opening, epoch.seal(1, b"content", seeded("entry"))]


_EPOCH, _OPENING = _epoch()
_OPENER: Final = Opener("KOR", [_OWN])


def _entry(data: bytes) -> None:
    """An entry at 0 or 1 of a ledger, with the true opening before it."""
    for index in (0, 1):
        try:
            require_place(parse_header(data), index)
        except SealError:
            continue
        _OPENER.content(FLASH, index, data, lambda at: _OPENING)


def _opening(data: bytes) -> None:
    assert encode_canonical(parse_opening(data)) == data


def _padded(data: bytes) -> None:
    unpad(data[1:], data[0] % 8 if data else 0)


def _payload(data: bytes) -> None:
    """What a partner has sealed: parts, as they are committed to, shown, and read from a witness ledger."""
    payload = parse_canonical(data, ledger_pb2.SealedPayload)
    if payload is None:
        return
    assert payload.SerializeToString(deterministic=True) == data
    for read in (lambda: commit(payload.parts), lambda: pieces_shown(payload), lambda: read_witness("JPN", payload)):
        try:
            read()
        except (SealError, NotInGroups, WitnessError):
            continue


def _content(data: bytes) -> None:
    """What stands in an entry between nodes, judged as `gateway.release.replica` judges it."""
    content = ledger_pb2.EntryContent.FromString(data)
    content.DiscardUnknownFields()
    match content.WhichOneof("content"):
        case "report":
            if not validate_released(content.report, origin="JPN", limits=LIMITS):
                clock_warning(content.report, NOW, LIMITS)
                parts_of(content.report)
        case "onward_report":
            report = content.onward_report.report
            if not validate_released(report, origin=report.originator_node, limits=LIMITS):
                verify(content.onward_report, carrier="JPN", node="KOR", partners=_PARTNERS)
        case "withdrawal":
            replica._withdrawn_id(content.withdrawal)
            replica._judge_originator(content.withdrawal.originator_node, "JPN", "KOR")
        case "sealed_recovery":
            unwrap_record_key(str(FLASH), content.sealed_recovery, content.sealed_recovery.key_index, "KOR", _OWN)
        case _:
            return


def _contents() -> Sequence[bytes]:
    made = [ledger_pb2.EntryContent(report=example()) for example in EXAMPLES.values()]
    withdrawal = ledger_pb2.Withdrawal(
        report_id=cancellation(1).report_id,
        traffic_class=report_pb2.TRAFFIC_CLASS_LIVE,
        precedence=report_pb2.PRECEDENCE_FLASH,
    )
    withdrawal.time.FromNanoseconds(NOW)
    made.append(ledger_pb2.EntryContent(withdrawal=withdrawal))
    onward = ledger_pb2.OnwardReport(report=EXAMPLES[next(iter(EXAMPLES))]())
    onward.proof.entry = _entries()[1]
    made.append(ledger_pb2.EntryContent(onward_report=onward))
    made.append(ledger_pb2.EntryContent(sealed_recovery=ledger_pb2.SealedRecovery(key_index=3, ciphertext=b"x" * 99)))
    return [each.SerializeToString(deterministic=True) for each in made]


def _payloads() -> Sequence[bytes]:
    whole = ledger_pb2.SealedPayload(parts=[ledger_pb2.Part(salt=bytes(16), content=_contents()[0])])
    report = EXAMPLES[next(iter(EXAMPLES))]()
    return [
        whole.SerializeToString(deterministic=True),
        ledger_pb2.SealedPayload(parts=parts_of(report)).SerializeToString(deterministic=True),
    ]


def _cell(data: bytes) -> None:
    """What an end of a tunnel has sealed into a cell."""
    plain = data[: cells.ROOM].ljust(cells.ROOM, b"\0")
    frames = cells._decode(plain)
    assert b"".join(map(cells._encode, frames)).ljust(cells.ROOM, b"\0") == plain


def _cells() -> Sequence[bytes]:
    frames = [
        cells.Frame(cells.Kind.OPEN, 1),
        cells.Frame(cells.Kind.DATA, 1, b"abc"),
        cells.Frame(cells.Kind.CLOSE, 1),
    ]
    return [b"".join(map(cells._encode, frames)), b""]


TARGETS: Final = (
    Target("entry", _entry, (SealError,), _entries),
    Target("epoch-opening", _opening, (SealError,), lambda: [_OPENING[44:]]),
    Target("padding", _padded, (SealError,), lambda: [b"\0" + b"\0\0\0\7content".ljust(256, b"\0")]),
    Target("payload", _payload, (), _payloads),
    Target(
        "entry-content",
        _content,
        (DecodeError, SealError, NotBelieved, LedgerError, replica._Unusable),
        _contents,
    ),
    Target("cell", _cell, (cells.CellError,), _cells),
)
