"""The scenario files hold what the public record holds, and say where it does not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.demo.describe import describe
from gateway.demo.flight import Flight
from gateway.demo.scenario import Launch, Scenario
from tests.demo.record import RECORD, WIKINEWS_2006_JST, Row
from tests.demo.world import FILES, NAMES, ROOT, scenario

LAUNCHES = [(name, launch_id, row) for name, rows in RECORD.items() for launch_id, row in rows.items()]
SEVEN = "2006-07-05-seven-missiles"


def find(name: str, launch_id: str) -> Launch:
    return next(launch for launch in scenario(name).launches if launch.id == launch_id)


def test_there_is_a_file_for_each_scenario_and_each_is_called_by_its_name() -> None:
    assert sorted(RECORD) == NAMES
    assert [scenario(name).name for name in NAMES] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_has_the_launches_of_the_record_and_no_others(name: str) -> None:
    assert [launch.id for launch in scenario(name).launches] == list(RECORD[name])


@pytest.mark.parametrize(("name", "launch_id", "row"), LAUNCHES)
def test_site_and_bearing_are_those_of_the_record(name: str, launch_id: str, row: Row) -> None:
    launch = find(name, launch_id)
    assert (launch.site.latitude_deg, launch.site.longitude_deg) == (row.site_lat_deg, row.site_lon_deg)
    assert launch.bearing_deg == row.bearing_deg


@pytest.mark.parametrize(("name", "launch_id", "row"), LAUNCHES)
def test_range_and_apogee_are_those_of_the_record_unless_a_later_analysis_is_cited(
    name: str, launch_id: str, row: Row
) -> None:
    launch = find(name, launch_id)
    if launch.outcome == "failure":
        assert {"japan-times-1", "japan-times-2"} <= set(launch.source)
        assert launch.note
    else:
        assert (launch.range_km, launch.apogee_km) == (row.range_km, row.apogee_km)


@pytest.mark.parametrize(("name", "launch_id", "row"), LAUNCHES)
def test_a_launch_is_at_the_time_of_the_record_or_its_time_is_sourced_or_assumed(
    name: str, launch_id: str, row: Row
) -> None:
    launch = find(name, launch_id)
    if row.time_utc is not None:
        assert f"{launch.launched_at:%H:%M}" == row.time_utc
        assert "launched_at" not in launch.assumed
    else:
        assert "launched_at" in launch.assumed or "wikinews-ja" in launch.source


def test_the_seven_launches_are_at_the_times_of_the_source_they_cite() -> None:
    japan = timedelta(hours=9)
    assert tuple(f"{launch.launched_at + japan:%H:%M}" for launch in scenario(SEVEN).launches) == WIKINEWS_2006_JST


def test_the_types_that_the_list_of_the_night_left_open_are_marked_as_assumed() -> None:
    assert [launch.id for launch in scenario(SEVEN).launches if "missile" in launch.assumed] == ["no-2", "no-7"]


@pytest.mark.parametrize(("name", "launch_id", "row"), LAUNCHES)
def test_a_burn_time_is_assumed_wherever_no_source_gives_one(name: str, launch_id: str, row: Row) -> None:
    launch = find(name, launch_id)
    assert ("burn_s" in launch.assumed) == (launch.outcome != "failure")


@pytest.mark.parametrize("name", NAMES)
def test_every_source_is_cited_and_every_launch_cites_the_database(name: str) -> None:
    played = scenario(name)
    estimates = [launch.early_estimate.source for launch in played.launches if launch.early_estimate]
    cited = {key for group in [*(launch.source for launch in played.launches), *estimates] for key in group}
    assert cited == {source.key for source in played.sources}
    assert all("cns" in launch.source for launch in played.launches)


def plausible(launch: Launch) -> bool:
    """In the Sea of Japan or, beyond it, in the Pacific; the one that failed, at its site."""
    impact = launch.flight().impact
    if launch.outcome == "failure":
        return abs(impact.longitude_deg - launch.site.longitude_deg) < 0.1
    in_sea_of_japan = 38 < impact.latitude_deg < 42.5 and 127.7 < impact.longitude_deg < 135
    in_the_pacific = 38 < impact.latitude_deg < 45 and 165 < impact.longitude_deg < 172
    return in_the_pacific if launch.range_km > 1_000 else in_sea_of_japan


@pytest.mark.parametrize(("name", "launch_id", "row"), LAUNCHES)
def test_range_and_bearing_lead_to_the_sea_that_the_record_names(name: str, launch_id: str, row: Row) -> None:
    assert plausible(find(name, launch_id))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_by_range_is_never_shorter_than_the_flight(name: str) -> None:
    longest_km = {"CRBM": 300, "SRBM": 1_000, "MRBM": 3_000, "IRBM": 5_500, "SLV": 50_000}
    assert all(launch.range_km <= longest_km[launch.missile_class] for launch in scenario(name).launches)


def test_the_launch_that_failed_flies_as_long_as_it_burned() -> None:
    launch = find(SEVEN, "no-3")
    assert launch.burn_s <= launch.flight().flight_time_s <= launch.burn_s + 5


def test_the_impact_of_the_early_estimate_over_japan_lies_200_km_short() -> None:
    launch = find("2017-09-14-over-japan", "no-1")
    estimated = launch.estimated_flight()
    assert isinstance(estimated, Flight)
    assert launch.flight().range_m - estimated.range_m == pytest.approx(200_000)


@pytest.mark.parametrize("name", NAMES)
def test_a_description_names_every_launch_source_and_assumption(name: str) -> None:
    text = describe(scenario(name))
    played = scenario(name)
    assert text.startswith(played.title)
    for launch in played.launches:
        assert f"{launch.launched_at:%Y-%m-%d %H:%M:%S}" in text
        assert f"{launch.id}: {', '.join(launch.assumed)}" in text
    assert all(source.url in text for source in played.sources)
    assert "Sensors are invented" in text


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_the_format_s_page_has_every_scenario(path: object) -> None:
    assert str(path).rsplit("/", 1)[-1] in (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")


def test_sites_lie_in_the_country_that_they_name() -> None:
    sites = {launch.site for name in NAMES for launch in scenario(name).launches}
    assert {site.country for site in sites} == {"PRK"}
    assert all(37.7 < site.latitude_deg < 43.1 and 124 < site.longitude_deg < 130.7 for site in sites)


def test_second_zero_is_the_first_launch() -> None:
    played: Scenario = scenario(SEVEN)
    assert played.seconds_to(played.launches[0]) == 0
    assert played.seconds_to(played.launches[-1]) == pytest.approx(13 * 3600 + 50 * 60)
