"""Reports, orders, policies, filters and cursors: what C2 systems, officers and files of this nation say."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import c2_pb2, officer_pb2

from gateway.audit.decision_filter import DecisionFilter, FilterError
from gateway.audit.search import _read_token, _token
from gateway.c2.feed import CursorError, Feed, PrunedError, Runs
from gateway.c2.limits import C2Limits
from gateway.config import ConfigError
from gateway.config import load as load_config
from gateway.ledger.stores import DecisionPlace, LedgerId
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.opening import Opener
from gateway.release.watch import Watch
from gateway.reports.errors import MalformedReport
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import canonical, parse_report, split_request
from gateway.reports.validate import validate_submitted
from policy import compile_bundle
from policy.approve.armour import read_orders, write_orders
from policy.approve.order import Order, SignedOrder, Suspend, decode, encode
from policy.approve.refusals import OrderRefused
from policy.approve.roster import parse_roster
from policy.errors import AreaError, PolicyError
from policy.geojson import polygons
from tests.fuzz.target import Target
from tests.fuzz.targets.ledger import JPN, text_of
from tests.release.world import RELEASE_ALL, TREATY
from tests.reports.examples import EXAMPLES, NOW

LIMITS: Final = ReportLimits()
_C2_LIMITS: Final = C2Limits()
_TIME: Final = datetime(2026, 11, 21, tzinfo=UTC)


def _report(data: bytes) -> None:
    report = parse_report(data, LIMITS)
    raw = canonical(report)
    assert canonical(parse_report(raw, LIMITS)) == raw
    validate_submitted(report, node="JPN", now=NOW, limits=LIMITS)


def _submitted(data: bytes) -> None:
    for report in split_request(data, _C2_LIMITS.request_reports, _C2_LIMITS.request_bytes):
        with contextlib.suppress(MalformedReport):
            canonical(parse_report(report, LIMITS))


def _reports() -> Sequence[bytes]:
    return [example().SerializeToString(deterministic=True) for example in EXAMPLES.values()]


def _submits() -> Sequence[bytes]:
    examples = [example() for example in EXAMPLES.values()]
    return [
        c2_pb2.SubmitRequest(reports=some).SerializeToString(deterministic=True) for some in (examples[:1], examples)
    ]


def _an_order() -> Order:
    return Order("JPN", 3, b"p" * 32, _TIME, _TIME.replace(month=12), Suspend("KOR", "its keys are in doubt"))


def _order(data: bytes) -> None:
    order = decode(data)
    assert decode(encode(order)) == order


def _orders_file(data: bytes) -> None:
    read_orders("orders.txt", data)


def _orders_files() -> Sequence[bytes]:
    return [write_orders([SignedOrder(encode(_an_order()), ())])]


def _roster(data: bytes) -> None:
    parse_roster("roster.yaml", data)


def _rosters() -> Sequence[bytes]:
    return [b"node: JPN\nofficers:\n  - signalfire/v1/JPN/officer/a+00000000+AAAA\nthresholds: {loosen: 2}\n"]


def _policy(data: bytes) -> None:
    compile_bundle({"policy.yaml": TREATY.encode(), "partners/KOR.yaml": data})


def _condition(data: bytes) -> None:
    lines = "".join(f"        {line}\n" for line in text_of(data).splitlines())
    rule = RELEASE_ALL + "    when: |\n" + lines
    compile_bundle({"policy.yaml": TREATY.encode(), "partners/KOR.yaml": f"partner: KOR\n{rule}".encode()})


def _area(data: bytes) -> None:
    polygons(data)


def _configuration(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        load_config(Path(file.name), files_needed=False)


_CONFIGURATION: Final = b"""\
node: JPN
gateway: a
keys: keys
store: store.db
roster: roster.yaml
limits:
  exchange: {heartbeat_s: 0.5}
"""


def _filter(data: bytes) -> None:
    DecisionFilter.of(officer_pb2.DecisionFilter.FromString(data))


def _filters() -> Sequence[bytes]:
    asked = officer_pb2.DecisionFilter(partners=["KOR"], rules=["everything"], event_id="JPN-2026-0042")
    asked.since.FromNanoseconds(NOW)
    return [asked.SerializeToString(deterministic=True)]


_WANTED: Final = DecisionFilter()
_PLACE: Final = DecisionPlace(NOW, LedgerId(1), 7)


def _page_token(data: bytes) -> None:
    assert _read_token(data, _WANTED, oldest_first=True) == _PLACE


def _page_tokens() -> Sequence[bytes]:
    return [_token(_PLACE, _WANTED, oldest_first=True)]


@functools.cache
def _feed() -> Feed:
    store = SqliteStore(Path(tempfile.mkdtemp(prefix="fuzz-")) / "store.db")
    return Feed("JPN", Runs((("00" * 8, 1),)), lambda: store, Watch(), Opener("JPN", JPN.sealing), JPN.storage)


def _cursor(data: bytes) -> None:
    _feed().position(text_of(data))


TARGETS: Final = (
    Target("report", _report, (MalformedReport,), _reports),
    Target("submit", _submitted, (MalformedReport,), _submits),
    Target("order", _order, (OrderRefused,), lambda: [encode(_an_order())]),
    Target("orders-file", _orders_file, (PolicyError,), _orders_files),
    Target("roster", _roster, (PolicyError,), _rosters),
    Target("policy", _policy, (PolicyError,), lambda: [f"partner: KOR\n{RELEASE_ALL}".encode()]),
    Target("condition", _condition, (PolicyError,), lambda: [b"report.launch_detection.object_count > 1"]),
    Target(
        "area",
        _area,
        (AreaError,),
        lambda: [b'{"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}'],
    ),
    Target("configuration", _configuration, (ConfigError,), lambda: [_CONFIGURATION]),
    Target("decision-filter", _filter, (FilterError, DecodeError), _filters),
    Target("page-token", _page_token, (FilterError,), _page_tokens),
    Target("cursor", _cursor, (CursorError, PrunedError), lambda: [b"0000000000000000:0", b""]),
)
