"""The limits of one gateway, as its configuration gives them: sections of YAML, each the values of one part's own
limits. Every limit has a default with a reason; docs/configuration.md explains each.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.alarms import AlarmLimits
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import QuotaLimits
from gateway.exchange.limits import ExchangeLimits
from gateway.exchange.rotation import SILENT_S
from gateway.exchange.tunnels.pacing import CarryLimits
from gateway.officer.access import OfficerLimits
from gateway.release.room import StoreLimits
from gateway.release.sequencer import SequencerLimits
from gateway.release.witness import MAX_INTERVAL_S, WitnessLimits
from gateway.reports.limits import ReportLimits
from policy.approve import OrderLimits


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_DEFAULT_REPORTS: Final = ReportLimits()
_DAY_S: Final = 86_400


class ReportSection(Section):
    """Limits on reports (`gateway.reports.limits`); times in seconds."""

    max_bytes: Annotated[int, Field(ge=1, le=60_000)] = _DEFAULT_REPORTS.max_report_bytes
    max_ahead_s: Annotated[float, Field(ge=0, le=_DAY_S)] = _DEFAULT_REPORTS.max_ahead.total_seconds()
    flag_ahead_s: Annotated[float, Field(ge=0, le=_DAY_S)] = _DEFAULT_REPORTS.flag_offset.total_seconds()
    flag_behind_s: Annotated[float, Field(ge=0, le=100 * 366 * _DAY_S)] = _DEFAULT_REPORTS.flag_behind.total_seconds()
    max_age_s: Annotated[float, Field(ge=0, le=100 * 366 * _DAY_S)] = _DEFAULT_REPORTS.max_age.total_seconds()
    onward_alerts_s: Annotated[float, Field(ge=0.01, le=1_000_000)] = _DEFAULT_REPORTS.onward_alerts_s
    onward_alerts_burst: Annotated[int, Field(ge=1, le=1_000_000)] = _DEFAULT_REPORTS.onward_alerts_burst

    @model_validator(mode="after")
    def _flag_before_refusal(self) -> ReportSection:
        if self.flag_ahead_s > self.max_ahead_s:
            raise ValueError("flag_ahead_s is larger than max_ahead_s; give at most that")
        return self

    def limits(self) -> ReportLimits:
        """The same as a value."""
        return ReportLimits(
            max_report_bytes=self.max_bytes,
            max_ahead=timedelta(seconds=self.max_ahead_s),
            flag_offset=timedelta(seconds=self.flag_ahead_s),
            flag_behind=timedelta(seconds=self.flag_behind_s),
            max_age=timedelta(seconds=self.max_age_s),
            onward_alerts_s=self.onward_alerts_s,
            onward_alerts_burst=self.onward_alerts_burst,
        )


_DEFAULT_EXCHANGE: Final = ExchangeLimits()
_DEFAULT_COMMITS: Final = SequencerLimits()
_DEFAULT_C2: Final = C2Limits()
_DEFAULT_QUOTAS: Final = QuotaLimits()
_DEFAULT_ORDERS: Final = OrderLimits()
_DEFAULT_OFFICERS: Final = OfficerLimits()
_DEFAULT_WITNESS: Final = WitnessLimits()
_DEFAULT_ALARMS: Final = AlarmLimits()
_DEFAULT_STORE: Final = StoreLimits()


class ExchangeSection(Section):
    """Limits of the exchange between gateways (`ExchangeLimits`)."""

    batch_bytes: Annotated[int, Field(ge=65_537, le=2 << 20)] = _DEFAULT_EXCHANGE.batch_bytes
    bulk_bytes: Annotated[int, Field(ge=4096, le=2 << 20)] = _DEFAULT_EXCHANGE.bulk_bytes
    partner_bytes_s: Annotated[float, Field(ge=4096, le=1 << 40)] = _DEFAULT_EXCHANGE.partner_bytes_s
    partner_burst_bytes: Annotated[float, Field(ge=1 << 20, le=1 << 50)] = _DEFAULT_EXCHANGE.partner_burst_bytes
    answers_s: Annotated[float, Field(ge=1, le=1_000_000)] = _DEFAULT_EXCHANGE.answers_s
    connections: Annotated[int, Field(ge=16, le=65_536)] = _DEFAULT_EXCHANGE.connections
    heartbeat_s: Annotated[float, Field(gt=0, le=60)] = _DEFAULT_EXCHANGE.heartbeat_s
    silence_s: Annotated[float, Field(gt=0, le=600)] = _DEFAULT_EXCHANGE.silence_s
    handshake_s: Annotated[float, Field(ge=1, le=60)] = _DEFAULT_EXCHANGE.handshake_s
    backoff_min_s: Annotated[float, Field(gt=0, le=60)] = _DEFAULT_EXCHANGE.backoff_min_s
    backoff_max_s: Annotated[float, Field(gt=0, le=60)] = _DEFAULT_EXCHANGE.backoff_max_s
    stagger_s: Annotated[float, Field(ge=0.05, le=60)] = _DEFAULT_EXCHANGE.stagger_s
    dials: Annotated[int, Field(ge=1, le=16)] = _DEFAULT_EXCHANGE.dials
    dial_s: Annotated[float, Field(ge=0.5, le=60)] = _DEFAULT_EXCHANGE.dial_s
    openings_s: Annotated[float, Field(ge=1, le=10_000)] = _DEFAULT_EXCHANGE.openings_s
    openings: Annotated[int, Field(ge=12, le=10_000)] = _DEFAULT_EXCHANGE.openings
    streams: Annotated[int, Field(ge=6, le=1000)] = _DEFAULT_EXCHANGE.streams
    questions_s: Annotated[float, Field(ge=1, le=10_000)] = _DEFAULT_EXCHANGE.questions_s
    questions: Annotated[int, Field(ge=100, le=1 << 30)] = _DEFAULT_EXCHANGE.questions

    @model_validator(mode="after")
    def _silence_spans_heartbeats(self) -> ExchangeSection:
        if self.silence_s < 2 * self.heartbeat_s:
            raise ValueError("silence_s is less than two heartbeats (heartbeat_s), so one late one would cut the link")
        return self


class CommitSection(Section):
    """Limits of one commit (`SequencerLimits`)."""

    steps: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_COMMITS.steps
    bytes: Annotated[int, Field(ge=1, le=2 << 20)] = _DEFAULT_COMMITS.bytes
    fill_ms: Annotated[float, Field(gt=0, le=10_000)] = _DEFAULT_COMMITS.fill_ms
    queue: Annotated[int, Field(ge=8, le=1 << 20)] = _DEFAULT_COMMITS.queue
    queue_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 32)] = _DEFAULT_COMMITS.queue_bytes
    reopen_s: Annotated[float, Field(gt=0, le=60)] = _DEFAULT_COMMITS.reopen_s


class C2Section(Section):
    """Limits of the national side (`C2Limits`)."""

    in_flight: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_C2.in_flight
    request_reports: Annotated[int, Field(ge=256, le=65_536)] = _DEFAULT_C2.request_reports
    request_bytes: Annotated[int, Field(ge=1 << 20, le=4 << 20)] = _DEFAULT_C2.request_bytes
    retry_after_ms: Annotated[int, Field(ge=1, le=60_000)] = _DEFAULT_C2.retry_after_ms
    subscriptions: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_C2.subscriptions
    connections: Annotated[int, Field(ge=16, le=65_536)] = _DEFAULT_C2.connections


class QuotaSection(Section):
    """What one C2 system may push (`QuotaLimits`)."""

    reports_s: Annotated[float, Field(ge=1, le=1_000_000)] = _DEFAULT_QUOTAS.reports_s
    reports_burst: Annotated[int, Field(ge=1, le=1 << 30)] = _DEFAULT_QUOTAS.reports_burst
    bytes_s: Annotated[float, Field(ge=1024, le=1 << 32)] = _DEFAULT_QUOTAS.bytes_s
    bytes_burst: Annotated[int, Field(ge=65_536, le=1 << 40)] = _DEFAULT_QUOTAS.bytes_burst
    alerts_s: Annotated[float, Field(ge=0.01, le=1_000_000)] = _DEFAULT_QUOTAS.alerts_s
    alerts_burst: Annotated[int, Field(ge=1, le=1 << 30)] = _DEFAULT_QUOTAS.alerts_burst
    streams: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_QUOTAS.streams


class OfficerSection(Section):
    """Limits of what one officer may have going on at once, and may fill of the record (`OfficerLimits`)."""

    searches: Annotated[int, Field(ge=1, le=1024)] = _DEFAULT_OFFICERS.searches
    exports: Annotated[int, Field(ge=1, le=1024)] = _DEFAULT_OFFICERS.exports
    watches: Annotated[int, Field(ge=1, le=65_536)] = _DEFAULT_OFFICERS.watches
    record_bytes_per_s: Annotated[float, Field(ge=1, le=2**30)] = _DEFAULT_OFFICERS.record_bytes_per_s
    record_burst_bytes: Annotated[int, Field(ge=65_536, le=2**40)] = _DEFAULT_OFFICERS.record_burst_bytes


class OrderSection(Section):
    """Limits of officers' orders (`OrderLimits`); times in seconds."""

    max_ahead_s: Annotated[float, Field(ge=0, le=_DAY_S)] = _DEFAULT_ORDERS.max_ahead.total_seconds()
    max_validity_s: Annotated[float, Field(gt=0, le=366 * _DAY_S)] = _DEFAULT_ORDERS.max_validity.total_seconds()
    max_proof_s: Annotated[float, Field(gt=0, le=3600)] = _DEFAULT_ORDERS.max_proof.total_seconds()

    def limits(self) -> OrderLimits:
        """The same as a value."""
        return OrderLimits(
            timedelta(seconds=self.max_ahead_s),
            timedelta(seconds=self.max_validity_s),
            timedelta(seconds=self.max_proof_s),
        )


class WitnessSection(Section):
    """The beat of the witness ledger, and what partners' ones may cost (`WitnessLimits`)."""

    interval_s: Annotated[float, Field(gt=0, le=MAX_INTERVAL_S)] = _DEFAULT_WITNESS.interval_s
    bytes_per_s: Annotated[float, Field(ge=1024, le=1 << 30)] = _DEFAULT_WITNESS.bytes_per_s
    burst_bytes: Annotated[float, Field(ge=1 << 20, le=1 << 50)] = _DEFAULT_WITNESS.burst_bytes
    compare_s: Annotated[float, Field(gt=0, le=_DAY_S)] = _DEFAULT_WITNESS.compare_s


class AlarmSection(Section):
    """When something becomes an alarm (`AlarmLimits`)."""

    receipt_overdue_s: Annotated[float, Field(gt=0, le=_DAY_S)] = _DEFAULT_ALARMS.receipt_overdue_s
    partner_silent_s: Annotated[float, Field(gt=0, le=_DAY_S)] = _DEFAULT_ALARMS.partner_silent_s
    clock_offset_s: Annotated[float, Field(gt=0, le=_DAY_S)] = _DEFAULT_ALARMS.clock_offset_s
    entries_owed_s: Annotated[float, Field(gt=0, le=_DAY_S)] = _DEFAULT_ALARMS.entries_owed_s


class KeySection(Section):
    """When keys that partners have to know are taken into use (`gateway.exchange.rotation`); times in seconds."""

    silent_s: Annotated[float, Field(ge=0, le=366 * _DAY_S)] = SILENT_S


class StoreSection(Section):
    """How much room is kept free for the store (`StoreLimits`)."""

    reserve_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = _DEFAULT_STORE.reserve_bytes
    least_bytes: Annotated[int, Field(ge=0, le=1 << 50)] = _DEFAULT_STORE.least_bytes

    @model_validator(mode="after")
    def _alerts_last(self) -> StoreSection:
        if self.least_bytes > self.reserve_bytes:
            raise ValueError("least_bytes is larger than reserve_bytes, so alerts would go first; give at most that")
        return self


_DEFAULT_CARRY: Final = CarryLimits()


class CarrySection(Section):
    """Limits of tunnels (`CarryLimits`)."""

    tick_s: Annotated[float, Field(ge=0.005, le=0.5)] = _DEFAULT_CARRY.tick_s
    classes: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)] = tuple(
        _DEFAULT_CARRY.classes
    )
    hedge_s: Annotated[float, Field(ge=0, le=60)] = _DEFAULT_CARRY.hedge_s
    tunnels: Annotated[int, Field(ge=1, le=64)] = _DEFAULT_CARRY.tunnels
    bytes_s: Annotated[float, Field(ge=65_536, le=1 << 30)] = _DEFAULT_CARRY.bytes_s

    @model_validator(mode="after")
    def _classes_rise(self) -> CarrySection:
        if list(self.classes) != sorted(set(self.classes)):
            raise ValueError("classes do not rise; give numbers of cells a tick, the smallest first, each once")
        return self

    def limits(self) -> CarryLimits:
        """The same as a value."""
        return CarryLimits(self.tick_s, self.classes, self.hedge_s, self.tunnels, self.bytes_s)


class LimitsSection(Section):
    """Every limit has a default with a reason; a site changes what it must."""

    reports: ReportSection = ReportSection()
    exchange: ExchangeSection = ExchangeSection()
    commits: CommitSection = CommitSection()
    c2: C2Section = C2Section()
    quotas: QuotaSection = QuotaSection()
    officers: OfficerSection = OfficerSection()
    orders: OrderSection = OrderSection()
    keys: KeySection = KeySection()
    witness: WitnessSection = WitnessSection()
    alarms: AlarmSection = AlarmSection()
    store: StoreSection = StoreSection()
    carry: CarrySection = CarrySection()
