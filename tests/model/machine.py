"""Every course that faults can take, drawn at random: a state machine over the exchange.

Each rule is one thing that can happen to one part at one moment. What has to hold is asked after each
(`tests.model.properties`). At the end of each course faults stop, and everything has to arrive within a bounded number
of dials.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.ledger.origin import Lane
from tests.model import properties
from tests.model.exchange import LANES, ORIGIN, RECIPIENT, WAYS, Crash, Crashed, Exchange

lanes = st.sampled_from(LANES)
ways = st.sampled_from(WAYS)
# Most commits go well: a machine in which everything fails at once never gets anywhere.
crashes = st.sampled_from([Crash.NONE] * 5 + [Crash.BEFORE, Crash.AFTER])
sizes = st.sampled_from([1, 2_000, 1 << 20])


class ExchangeMachine(RuleBasedStateMachine):
    """Crashes, cuts, two ways, duplicates, stale messages and stores that are set back."""

    exchange_type: ClassVar[type[Exchange]] = Exchange

    @initialize()
    def open(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="model-"))
        self.exchange = self.exchange_type(self.directory)

    def teardown(self) -> None:
        if not hasattr(self, "exchange"):
            return
        try:
            self.exchange.settle()
            properties.safe(self.exchange)
            properties.arrived(self.exchange)
        finally:
            self.exchange.close()
            shutil.rmtree(self.directory)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "exchange"):
            properties.safe(self.exchange)

    # --- C2

    @rule(into=st.lists(lanes, min_size=1, max_size=3), crash=crashes)
    def reports_come(self, into: list[Lane], crash: Crash) -> None:
        with contextlib.suppress(Crashed):
            self.exchange.submit(*(self.exchange.new_report(lane) for lane in into), crash=crash)

    @rule(at=st.integers(0, 99), crash=crashes)
    def a_report_is_cancelled(self, at: int, crash: Crash) -> None:
        standing = [name for ids in self.exchange.accepted.values() for name in ids]
        if standing:
            with contextlib.suppress(Crashed):
                self.exchange.submit(self.exchange.new_cancellation(standing[at % len(standing)]), crash=crash)

    @rule(crash=crashes)
    def what_was_never_acknowledged_comes_again(self, crash: Crash) -> None:
        with contextlib.suppress(Crashed):
            self.exchange.submit(*self.exchange.owed, crash=crash)

    @rule(at=st.integers(0, 99))
    def what_was_acknowledged_comes_again(self, at: int) -> None:
        acknowledged = sorted(self.exchange.acknowledged)
        if acknowledged:
            self.exchange.submit(self.exchange.handed[acknowledged[at % len(acknowledged)]])

    # --- links

    @rule(way=ways, lane=lanes, crash=crashes)
    def a_lane_is_dialled(self, way: str, lane: Lane, crash: Crash) -> None:
        with contextlib.suppress(Crashed):
            self.exchange.dial(way, lane, crash)

    @rule(way=ways, lane=lanes)
    def a_lane_works_for_a_while(self, way: str, lane: Lane) -> None:
        if (way, lane) not in self.exchange.streams:
            self.exchange.dial(way, lane)
        for _ in range(3):
            self.exchange.send(way, lane)
            self.exchange.take(way, lane)
            self.exchange.hear(way, lane)

    @rule(way=ways, lane=lanes)
    def a_stream_is_cut(self, way: str, lane: Lane) -> None:
        self.exchange.cut(way, lane)

    @rule(way=ways, lane=lanes, max_bytes=sizes)
    def the_origin_sends(self, way: str, lane: Lane, max_bytes: int) -> None:
        self.exchange.send(way, lane, max_bytes)

    @rule(way=ways, lane=lanes, crash=crashes)
    def the_recipient_takes(self, way: str, lane: Lane, crash: Crash) -> None:
        with contextlib.suppress(Crashed):
            self.exchange.take(way, lane, crash)

    @rule(way=ways, lane=lanes, crash=crashes)
    def the_origin_hears(self, way: str, lane: Lane, crash: Crash) -> None:
        with contextlib.suppress(Crashed):
            self.exchange.hear(way, lane, crash)

    @precondition(lambda self: self.exchange.stale)
    @rule(at=st.integers(0, 99))
    def what_was_on_its_way_comes_late(self, at: int) -> None:
        stale = self.exchange.stale
        self.exchange.receive(stale[at % len(stale)])

    # --- machines

    @rule(node=st.sampled_from([ORIGIN, RECIPIENT]))
    def a_node_is_killed(self, node: str) -> None:
        self.exchange.restart(node)

    @rule(node=st.sampled_from([ORIGIN, RECIPIENT]))
    def a_store_is_copied(self, node: str) -> None:
        self.exchange.back_up(node)

    @precondition(lambda self: self.exchange.has_backup(ORIGIN))
    @rule()
    def an_old_store_of_the_origin_is_put_in_its_place(self) -> None:
        self.exchange.restore(ORIGIN)

    @precondition(lambda self: self.exchange.has_backup(RECIPIENT))
    @rule()
    def an_old_store_of_the_recipient_is_put_in_its_place(self) -> None:
        self.exchange.restore(RECIPIENT)
