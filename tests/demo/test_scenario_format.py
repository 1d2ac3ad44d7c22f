"""A scenario file is read strictly, and its format is documented field by field."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.demo.acts import Annex, Overtaking, PostureChange, Suspension
from gateway.demo.errors import ScenarioError
from gateway.demo.nations import CloseTracks, Coverage, Markings, Nation, Sensor
from gateway.demo.scenario import (
    DuplicateDetection,
    EarlyEstimate,
    Launch,
    Scenario,
    Site,
    Source,
    load_scenario,
    parse_scenario,
)
from tests.demo.world import ROOT

PLAIN = """\
name: one-launch
title: One launch
summary: A launch.
traffic_class: EXERCISE
sources:
  - {key: cns, title: The database, url: "https://example.org/"}
launches:
  - id: no-1
    launched_at: "2017-09-14T21:57:00Z"
    missile: Hwasong-12
    class: IRBM
    site: {country: PRK, name: Sunan, latitude_deg: 39.2, longitude_deg: 125.7}
    bearing_deg: 72
    range_km: 3700
    apogee_km: 770
    burn_s: 150
    outcome: success
    source: [cns]
    assumed: [burn_s]
"""
ESTIMATE = """\
    early_estimate: {node: JPN, range_km: 3500, apogee_km: 770, corrected_after_s: 480, source: [cns]}
"""
DUPLICATE = """\
duplicate_detections:
  - {node: KOR, station: radar-1, launch: no-1, after_s: 70, cancelled_after_s: 130}
"""


def changed(old: str, new: str, text: str = PLAIN + ESTIMATE + DUPLICATE) -> str:
    assert old in text
    return text.replace(old, new, 1)


def test_the_plain_scenario_is_read() -> None:
    scenario = parse_scenario(PLAIN + ESTIMATE + DUPLICATE, where="here")
    assert scenario.launches[0].missile_class == "IRBM"
    assert f"{scenario.start:%Y-%m-%dT%H:%M:%S%z}" == "2017-09-14T21:57:00+0000"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("traffic_class: EXERCISE", "traffic_class: LIVE", "traffic_class"),
        ("traffic_class: EXERCISE\n", "", "traffic_class"),
        ("title:", "titel:", "titel"),
        ("burn_s: 150", 'burn_s: "150"', "burn_s"),
        ("burn_s: 150", "burn_s: true", "burn_s"),
        ("burn_s: 150", "burn_s: .inf", "infinite"),
        ("range_km: 3700", "range_km: 40000", "range_m"),
        ("range_km: 3700", "range_km: -1", "range_km"),
        ("apogee_km: 770", "apogee_km: 0", "apogee_km"),
        ("bearing_deg: 72", "bearing_deg: 360", "bearing_deg"),
        ("class: IRBM", "class: UNSPECIFIED", "must be one of"),
        ("class: IRBM", "class: irbm", "must be one of"),
        ("outcome: success", "outcome: fine", "outcome"),
        ("source: [cns]", "source: []", "source"),
        ("source: [cns]", "source: [nobody]", "nobody"),
        ("source: [cns]", "source: cns", "source"),
        ("assumed: [burn_s]", "assumed: [everything]", "assumed"),
        ("assumed: [burn_s]", "assumed: [burn_s, burn_s]", "twice"),
        ('"2017-09-14T21:57:00Z"', "2017-09-14T21:57:00Z", "quotes"),
        ('"2017-09-14T21:57:00Z"', '"2017-09-14T21:57:00"', "launched_at"),
        ('"2017-09-14T21:57:00Z"', '"2017-09-15T06:57:00+09:00"', "UTC"),
        ("title: One launch", "title: One launch\ntitle: Two", "duplicate"),
        ("title: One launch", "title: [", "YAML"),
        ("title: One launch", "title: !!python/name:os.system x", "YAML"),
        ("node: JPN", "node: FRA", "FRA"),
        ("station: radar-1", "station: radar-9", "no such station"),
        ("launch: no-1", "launch: no-2", "not listed"),
        ("after_s: 70", "after_s: 131", "cancelled_after_s"),
        ("country: PRK", "country: North Korea", "country"),
    ],
)
def test_what_breaks_the_format_is_refused_by_name(old: str, new: str, fault: str) -> None:
    with pytest.raises(ScenarioError, match=fault):
        parse_scenario(changed(old, new), where="here")


def test_a_burn_that_outlasts_its_flight_is_refused() -> None:
    with pytest.raises(ScenarioError, match="outlasts"):
        parse_scenario(
            changed("apogee_km: 770", "apogee_km: 5", changed("range_km: 3700", "range_km: 50")), where="here"
        )


def test_launches_out_of_order_are_refused() -> None:
    body = PLAIN.split("launches:\n")[1]
    earlier = body.replace("no-1", "no-2").replace("21:57", "21:56")
    with pytest.raises(ScenarioError, match="order"):
        parse_scenario(PLAIN + earlier, where="here")
    with pytest.raises(ScenarioError, match="launch id given twice: no-1"):
        parse_scenario(PLAIN + body, where="here")


def test_a_fault_names_the_file_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(changed("traffic_class: EXERCISE", "traffic_class: LIVE"), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"broken\.yaml.*docs/scenarios\.md"):
        load_scenario(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "absent.yaml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match="UTF-8"):
        load_scenario(path)


@pytest.mark.parametrize(
    "model",
    [
        Scenario,
        Source,
        Launch,
        Site,
        EarlyEstimate,
        DuplicateDetection,
        Nation,
        Markings,
        CloseTracks,
        Sensor,
        Coverage,
        PostureChange,
        Suspension,
        Annex,
        Overtaking,
    ],
)
def test_every_key_of_the_format_is_documented(model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    keys = [field.alias or name for name, field in model.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in text] == []
