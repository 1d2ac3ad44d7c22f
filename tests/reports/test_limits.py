from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.reports.errors import LimitError
from gateway.reports.limits import ReportLimits


def test_durations_are_kept_in_nanoseconds_too() -> None:
    limits = ReportLimits(max_ahead=timedelta(microseconds=1_500_001), max_age=timedelta(days=400))
    assert limits.max_ahead_ns == 1_500_001_000
    assert limits.max_age_ns == 400 * 86_400 * 10**9
    assert limits.flag_offset_ns == 10**9


def test_limits_with_the_same_settings_are_equal() -> None:
    assert ReportLimits() == ReportLimits()
    assert ReportLimits() != ReportLimits(max_age=timedelta(hours=2))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("max_report_bytes", 0),
        ("max_report_bytes", 65_536),
        ("max_ahead", timedelta(seconds=-1)),
        ("max_ahead", timedelta(0)),
        ("flag_offset", timedelta(seconds=6)),
        ("max_age", timedelta(microseconds=-1)),
        ("max_prediction_ahead", timedelta(days=-1)),
        ("max_impact_ahead", timedelta(days=-1)),
        ("coarsening_slack", timedelta(days=-1)),
        ("covariance_tolerance", 0.0),
        ("covariance_tolerance", 0.02),
        ("covariance_tolerance", float("nan")),
    ],
)
def test_a_limit_that_no_gateway_can_run_with_is_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(LimitError, match=setting):
        ReportLimits(**{setting: value})
