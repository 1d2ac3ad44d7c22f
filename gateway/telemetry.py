"""Metrics, for Prometheus. docs/metrics.md lists every one; a test keeps the two in step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway.attention import Alert, Attention

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Tally(Collector):
    """A counter by labels for what is counted with every report: a library's counter looks its labels up and takes
    locks, which costs ten times as much. One thread counts; any may collect.
    """

    def __init__(self, name: str, what: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._what = what
        self._labelnames = tuple(labels)
        self._counted: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def count(self, *labels: str) -> None:
        """Counts one, under as many labels as there are names of them."""
        self._counted[labels] = self._counted.get(labels, 0) + 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """All that was counted."""
        family = CounterMetricFamily(self._name, self._what, labels=self._labelnames)
        for labels, count in self._counted.copy().items():
            family.add_metric([str(label) for label in labels], count)
        yield family


class Telemetry:
    """All metrics of one gateway, in a registry of their own, and what happened that an operator must look at."""

    def __init__(self) -> None:
        self.attention = Attention()
        self.registry = CollectorRegistry()
        registry = self.registry
        self.reports = Tally(
            "signalfire_reports_total", "Reports from C2 systems, by what became of them.", ["result"], registry
        )
        self.clock_flags = Counter(
            "signalfire_clock_flags_total",
            "Reports whose time was off by less than is refused, by C2 system.",
            ["client"],
            registry=registry,
        )
        self.audit_calls = Counter(
            "signalfire_audit_calls_total",
            "Calls by which officers looked at the record, by call; each is on record as `audit-access`.",
            ["call"],
            registry=registry,
        )
        self.decisions = Tally(
            "signalfire_decisions_total", "Decisions, by partner and outcome.", ["partner", "outcome"], registry
        )
        self.policy_errors = Counter(
            "signalfire_policy_errors_total",
            "Decisions that withheld because a rule failed.",
            ["partner"],
            registry=registry,
        )
        self.untold = Gauge(
            "signalfire_untold_withdrawals",
            "Withdrawals that a partner has still to be told of.",
            ["partner"],
            registry=registry,
        )
        self.put_off = Gauge(
            "signalfire_put_off_entries",
            "Entries of the partner that were put off when they came, and have still to be looked at for passing on.",
            ["partner", "lane"],
            registry=registry,
        )
        self.kept_back = Counter(
            "signalfire_kept_back_entries_total",
            "Entries that were served as hashes alone, because they may not go any more.",
            ["partner"],
            registry=registry,
        )
        self.pruned = Counter(
            "signalfire_pruned_total",
            "Contents that were let go because of their age: own reports, and entries of ledgers.",
            ["what"],
            registry=registry,
        )
        self._clock_trusted = Gauge(
            "signalfire_clock_trusted", "1 while the node believes its own clock.", registry=registry
        )
        self._clock_trusted.set(0)
        self.clock_max_error = Gauge(
            "signalfire_clock_max_error_seconds",
            "The most that this machine's clock may be off, as its kernel says, seconds.",
            registry=registry,
        )
        self.policy_in_force = Gauge(
            "signalfire_policy_in_force", "1 while a policy is in force, 0 while everything is withheld.",
            registry=registry,
        )  # fmt: skip
        self.policy_sequence = Gauge(
            "signalfire_policy_sequence", "Sequence of the last order of the officers in force.", registry=registry
        )
        self.suspended_partners = Gauge(
            "signalfire_suspended_partners", "Partners to whom nothing is released.", registry=registry
        )
        self.refused_orders = Counter(
            "signalfire_refused_orders_total",
            "Reasons for which orders of the officers were refused.",
            ["reason"],
            registry=registry,
        )
        self.commits = Histogram(
            "signalfire_commit_seconds",
            "Time to prepare and make durable one commit, seconds.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.commit_steps = Histogram(
            "signalfire_commit_steps", "Steps in one commit.", buckets=_BATCHES, registry=registry
        )
        self.waiting = Gauge("signalfire_queue_steps", "Steps that wait for the next commit.", registry=registry)
        self.accepting = Gauge("signalfire_accepting", "1 while reports are taken at all.", registry=registry)
        self.lowest_precedence = Gauge(
            "signalfire_lowest_precedence",
            "Lowest precedence of reports that is taken: 1 ROUTINE, 4 FLASH, 0 none.",
            registry=registry,
        )
        self.store_free = Gauge(
            "signalfire_store_free_bytes", "Bytes that are free on the disk of the store.", registry=registry
        )
        self.store_failures = Counter(
            "signalfire_store_failures_total",
            "Failures to write, read or open the store, by kind.",
            ["kind"],
            registry=registry,
        )
        self.broken_steps = Counter(
            "signalfire_broken_reports_total",
            "Times that this gateway failed on a report in a way that nobody foresaw; see its log.",
            registry=registry,
        )
        self.loop_lag = Histogram(
            "signalfire_event_loop_lag_seconds",
            "How much later than it should the event loop went on, seconds.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.entries_sent = Counter(
            "signalfire_entries_sent_total", "Ledger entries sent.", ["partner", "lane"], registry=registry
        )
        self.entries_received = Counter(
            "signalfire_entries_received_total",
            "Ledger entries received, verified and made durable.",
            ["partner", "lane"],
            registry=registry,
        )
        self.reports_received = Counter(
            "signalfire_reports_received_total", "Reports received, once each.", ["partner"], registry=registry
        )
        self.withdrawals_received = Counter(
            "signalfire_withdrawals_received_total", "Withdrawals received.", ["partner"], registry=registry
        )
        self.receipts = Counter(
            "signalfire_receipts_total", "Receipts that partners gave.", ["partner", "lane"], registry=registry
        )
        self.unopenable = Counter(
            "signalfire_unopenable_total",
            "Entries that could not be used: sent to a partner, or received from it.",
            ["partner", "direction"],
            registry=registry,
        )
        self.refused_streams = Counter(
            "signalfire_refused_streams_total",
            "Streams of callers that were ended with an error, by reason.",
            ["reason"],
            registry=registry,
        )
        self.turned_away = Gauge(
            "signalfire_turned_away",
            "1 while several streams of the partner were ended of late for what it did.",
            ["partner"],
            registry=registry,
        )
        self.link_failures = Counter(
            "signalfire_link_failures_total", "Streams to partners that failed.", ["partner", "lane"], registry=registry
        )
        self.heartbeat_time = Gauge(
            "signalfire_heartbeat_timestamp_seconds",
            "Time of the last verified heartbeat, seconds since 1970.",
            ["partner"],
            registry=registry,
        )
        self.clock_offset = Gauge(
            "signalfire_clock_offset_seconds", "The partner's clock less ours, seconds.", ["partner"], registry=registry
        )
        self.round_trip = Gauge(
            "signalfire_round_trip_seconds",
            "Round trip of the last heartbeat that this node sent, seconds.",
            ["partner"],
            registry=registry,
        )
        self.behind = Gauge(
            "signalfire_behind_entries",
            "Entries that the partner has signed and this node does not have yet.",
            ["partner"],
            registry=registry,
        )
        self.pq_pending = Gauge(
            "signalfire_pq_pending_seconds",
            "Age of the oldest own checkpoint that still waits for its post-quantum line, seconds.",
            registry=registry,
        )
        self.bundle_sequence = Gauge(
            "signalfire_bundle_sequence",
            "Sequence of a node's trust bundle that this node believes; of its own the one that is announced.",
            ["node"],
            registry=registry,
        )
        self.bundle_known = Gauge(
            "signalfire_bundle_known",
            "Sequence of this node's trust bundle that the partner believes, as it last said.",
            ["partner"],
            registry=registry,
        )
        self.key_switches = Counter(
            "signalfire_key_switches_total", "Keys that were taken into use, by kind.", ["kind"], registry=registry
        )
        self.receipt_overdue = Gauge(
            "signalfire_receipt_overdue_seconds",
            "Age of the oldest entry of a lane for which the partner has given no receipt, seconds.",
            ["partner", "lane"],
            registry=registry,
        )
        self.owed = Gauge(
            "signalfire_owed_seconds",
            "Time for which nothing has come of a lane of which the partner's heartbeats show entries, seconds.",
            ["partner", "lane"],
            registry=registry,
        )
        self.alerts_withheld = Gauge(
            "signalfire_alerts_withheld",
            "FLASH reports that were withheld from the partner because something failed, as the alarm counts them.",
            ["partner"],
            registry=registry,
        )
        self.after_all_clear = Gauge(
            "signalfire_warnings_after_all_clear",
            "Warnings that stand though accepted after the all-clear of their event, as the alarm counts them.",
            registry=registry,
        )
        self.roots_differ = Gauge(
            "signalfire_roots_differ",
            "1 while the partner has contradicted itself, or the two ends of a ledger do not have the same.",
            ["partner"],
            registry=registry,
        )
        self.uncovered = Gauge(
            "signalfire_replicas_uncovered",
            "Ledgers of a partner that has retired a log key of which no key in use covers what is held here.",
            ["partner"],
            registry=registry,
        )
        self.partner_silent = Gauge(
            "signalfire_partner_silent_seconds",
            "Time since the partner's last verified heartbeat, seconds.",
            ["partner"],
            registry=registry,
        )
        self.partner_unheard = Gauge(
            "signalfire_partner_unheard_seconds",
            "Time since the partner last answered a heartbeat of this node, seconds.",
            ["partner"],
            registry=registry,
        )
        self.partner_takes = Gauge(
            "signalfire_partner_takes",
            "What the partner takes from its C2 systems, as it last said: 0 all, 1 PRIORITY and above, 2 IMMEDIATE and"
            " above, 3 FLASH alone, 4 nothing.",
            ["partner"],
            registry=registry,
        )
        self.expiry = Gauge(
            "signalfire_expiry_timestamp_seconds",
            "When something that this node depends on expires, seconds since 1970.",
            ["what", "name"],
            registry=registry,
        )
        self.followed_lanes = Gauge(
            "signalfire_followed_lanes", "Lanes of this node that the partner follows.", ["partner"], registry=registry
        )
        self.passed_over = Counter(
            "signalfire_batches_passed_over_total",
            "Batches of which everything had come before, by another way.",
            ["partner"],
            registry=registry,
        )
        self.heard_by = Gauge(
            "signalfire_heard_by_way",
            "1 while verified heartbeats of the partner come by this way.",
            ["partner", "way"],
            registry=registry,
        )
        self.tunnels = Gauge(
            "signalfire_carried_tunnels",
            "Tunnels between two partners that this node carries.",
            ["one", "other"],
            registry=registry,
        )
        self.carried_cells = Counter(
            "signalfire_carried_cells_total",
            "Cells between two partners that this node has carried.",
            ["one", "other"],
            registry=registry,
        )
        self.unopened_items = Gauge(
            "signalfire_unopened_items",
            "Items of the feed that subscribers were not given since the start, because they do not open.",
            registry=registry,
        )
        self.subscribers = Gauge("signalfire_subscribers", "Open subscriptions of C2 systems.", registry=registry)

    def decided(self, partner: str, outcome: str, failed: bool, alert: Alert | None = None) -> None:
        """Counts one decision; `failed`: a rule could not be evaluated; `alert`: what is to be told of it."""
        self.decisions.count(partner, outcome)
        if failed:
            self.policy_errors.labels(partner=partner).inc()
        if alert is not None:
            self.attention.decided(partner, alert)

    def clock_trusted(self, trusted: bool) -> None:
        """Tells whether the node believes its own clock."""
        self._clock_trusted.set(trusted)
