"""The benchmark's own parts: that each system carries every report, and that the figures are what was measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench import policy50, tables
from bench.gateways import Gateways
from bench.load import Measured, Sizes, measure
from bench.relay.relay import BatchedRelay, Relay
from bench.system import System, SystemFailed, cpu_seconds
from bench.traffic import Traffic, new_tag
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_submitted
from policy import Circumstances, Outcome, compile_bundle, read_files

FEW = Sizes(reports=200, in_flight=50, alerts=5, rate=100.0, seconds=1.5, alerts_s=10.0, warm_up=20)


@pytest.mark.parametrize("system", [Relay, BatchedRelay, lambda: Gateways(small=True)])
async def test_every_report_arrives_and_every_process_is_counted(system: type[System], tmp_path: Path) -> None:
    measured = system()
    try:
        await measured.start(tmp_path)
        found = await measure(measured, FEW, lambda what, done, of: None)
        parts = {"origin", "recipient", "recipient 2", "producer", "subscriber", "alerts"}
        assert found.cpu.keys() == found.idle_cpu.keys() == found.busy_cpu.keys() == parts
        assert all(found.cpu[part] > 0 for part in parts - {"alerts"})
        assert found.reports == FEW.reports
        assert found.seconds > 0
        assert found.acknowledged_seconds > 0
        assert len(found.idle) == FEW.alerts
        assert len(found.busy) == 5
        assert min(found.idle + found.busy) > 0
        assert found.busy_rate > 0
    finally:
        await measured.stop()


async def test_a_system_that_ends_is_told_and_not_measured(tmp_path: Path) -> None:
    relay = Relay()
    try:
        await relay.start(tmp_path)
        for pid in relay.processes().values():
            os.kill(pid, 9)
        with pytest.raises(SystemFailed):
            await measure(relay, FEW, lambda what, done, of: None)
    finally:
        await relay.stop()


def test_its_reports_are_valid_and_unlike_each_other() -> None:
    traffic, tag = Traffic(), new_tag()
    reports = [*traffic.launches(), traffic.alert(tag), *(traffic.track(tag, number) for number in range(100))]
    for report in reports:
        now = report.report_time.ToNanoseconds()
        assert validate_submitted(report, node="JPN", now=now, limits=ReportLimits()) == []
    assert len({report.report_id for report in reports}) == len(reports)
    assert all(report.report_id.endswith(tag) for report in reports[len(traffic.launches()) :])


def test_the_policy_has_fifty_rules_for_each_partner_and_releases_what_is_sent(tmp_path: Path) -> None:
    policy50.write(tmp_path / "jpn")
    bundle = compile_bundle(read_files(tmp_path / "jpn"))
    assert set(bundle.partners) == {"KOR", "USA"}
    traffic = Traffic()
    for report in (traffic.alert(new_tag()), traffic.track(new_tag(), 0)):
        for partner in bundle.partners:
            decided = bundle.decide(report, partner, Circumstances(datetime.now(UTC), bundle.posture))
            assert (decided.outcome, decided.rule) == (Outcome.RELEASED, "prk-launch-warning")


def test_figures_are_medians_over_the_rounds() -> None:
    rounds = [
        Measured(
            reports=100, seconds=seconds, acknowledged_seconds=1.0, cpu={"origin": 0.01 * seconds, "producer": 0.1}
        )
        for seconds in (1.0, 2.0, 8.0)
    ]
    found = tables.summary(rounds)
    assert found["reports_a_second"] == 50.0
    assert found["cpu_us_a_report"] == pytest.approx({"origin": 200.0, "producer": 1000.0})
    assert "alerts_alone_ms" not in found


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(each) for each in range(1, 101)]
    assert tables.percentile(values, 50) == 50.0
    assert tables.percentile(values, 99) == 99.0
    assert tables.percentile([3.0], 99) == 3.0


def test_a_process_that_is_gone_has_no_time() -> None:
    assert cpu_seconds(os.getpid()) > 0
    with pytest.raises(ProcessLookupError):
        cpu_seconds(2**22 - 1)
