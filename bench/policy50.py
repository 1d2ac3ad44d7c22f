"""A release policy of the size that officers' policies come to: fifty rules for each partner, all of them proved.

They are the example policy of Japan, and what years add to it: caveats, trials and ranges that stay at home, tracks
that are too good or too poor, copies that go coarse. A track that is released asks some twenty of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

EXAMPLE: Final = Path(__file__).parents[1] / "policy" / "examples" / "trilateral" / "jpn"
RULES: Final = 50

_ALL: Final = "LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear"
_RANGES: Final = {
    "test_range_north": (42.6, 141.5),
    "test_range_east": (36.1, 143.0),
    "test_range_south": (27.4, 128.9),
    "test_range_west": (34.8, 131.2),
}
_CAVEATS: Final = (
    "ATTACHE",
    "CABINET",
    "COMINT",
    "CONTRACTOR",
    "FLEET",
    "LIAISON",
    "METEO",
    "PATROL",
    "SPACE",
    "TREATY",
)
_TRIALS: Final = ("autumn", "harbour", "island", "mountain", "night", "sea", "spring", "strait", "summer", "winter")


def _rule(name: str, effect: str, kinds: str, when: str, *further: str, classes: str = "LIVE, EXERCISE") -> str:
    lines = [
        f"  - name: {name}",
        f"    effect: {effect}",
        f"    reason: {name.replace('-', ' ').capitalize()}",
        f"    kinds: [{kinds}]",
        f"    traffic_classes: [{classes}]",
        *(f"    {each}" for each in further),
    ]
    if when:
        lines += ["    when: |", f"      {when}"]
    return "\n".join(lines) + "\n"


def _withholding() -> Iterator[str]:
    """What stays at home."""
    yield _rule("technical-tests-stay-at-home", "withhold", _ALL, "", classes="TEST")
    elsewhere = 'report.threat.launch_country == "UNKNOWN" || !(report.threat.launch_country in countries.covered)'
    yield _rule("launches-from-elsewhere-stay-at-home", "withhold", _ALL, elsewhere)
    possible = "report.launch_detection.certainty == Certainty.CERTAINTY_POSSIBLE"
    quiet = "posture: [ROUTINE]"
    yield _rule("possible-launch-only-in-tension", "withhold", "LaunchDetection", possible, quiet)
    for at, caveat in enumerate(_CAVEATS):
        kinds = ("Track", "LaunchDetection", "ImpactPrediction")[at % 3]
        yield _rule(
            f"{caveat.lower()}-{kinds.lower()}-stays", "withhold", kinds, f'"{caveat}" in report.marking.caveats'
        )
    for at, trial in enumerate(_TRIALS):
        kinds = ("Track", "LaunchDetection", "ImpactPrediction")[at % 3]
        yield _rule(f"{trial}-trials-stay-at-home", "withhold", kinds, f'report.event_id.startsWith("{trial}-trial-")')
    for area in _RANGES:
        name = area.replace("_", "-")
        yield _rule(f"tracks-over-{name}-stay", "withhold", "Track", f"inside(report.track.position, areas.{area})")
        point = f"inside(report.launch_detection.launch_point, areas.{area})"
        yield _rule(f"launches-at-{name}-stay", "withhold", "LaunchDetection", point)
    close = "report.track.missile_class == MissileClass.MISSILE_CLASS_CRBM"
    yield _rule("close-range-tracks-stay", "withhold", "Track", close)
    yield _rule("poor-tracks-stay", "withhold", "Track", "report.track.quality < 3u")
    for kind in ("Correction", "Cancellation"):
        yield _rule(f"{kind.lower()}-of-trials-stays", "withhold", kind, 'report.event_id.startsWith("trial-")')


def _releasing(sets: str) -> Iterator[str]:
    """What goes; of those that match the first decides."""
    terms = ("ceiling: SECRET", "agreement: trilateral-2023")
    covered = "report.threat.launch_country in countries.covered"
    modality = "report.track.sensor_modality == SensorModality.SENSOR_MODALITY"
    coarse = ("fields: [warning]", "coarsen: {position: {grid_m: 2000}, velocity_mps: 50}")
    marked = (*coarse, "remark: {add_caveats: [COARSE]}")
    airborne = f"{covered} && {modality}_AIRBORNE"
    yield _rule("tracks-from-the-air-go-coarse", "release", "Track", airborne, "posture: [ROUTINE]", *terms, *marked)
    for kind in ("LaunchDetection", "Track", "ImpactPrediction"):
        for number in range(4):
            when = f'{covered} && report.event_id.startsWith("joint-exercise-{number + 1}-")'
            yield _rule(f"joint-exercise-{number + 1}-{kind.lower()}", "release", kind, when, *terms, *marked)
    warnings = "LaunchDetection, Track, ImpactPrediction"
    yield _rule("prk-launch-warning", "release", warnings, covered, *terms, f"fields: [{sets}]")
    recalls = "Correction, Cancellation, AllClear"
    yield _rule("prk-launch-recall", "release", recalls, covered, *terms, "fields: [envelope@1, threat@1, recall@1]")


def write(directory: Path) -> None:
    """Writes the policy into `directory`, which must not exist."""
    shutil.copytree(EXAMPLE, directory, ignore=shutil.ignore_patterns("cases", "partners"))
    ranges = "".join(
        f"  {name}: {{circle: {{centre: [{latitude}, {longitude}], radius_m: 60000}}}}\n"
        for name, (latitude, longitude) in _RANGES.items()
    )
    with (directory / "policy.yaml").open("a", encoding="utf-8") as shared:
        shared.write(f"\nareas:\n{ranges}")
    (directory / "partners").mkdir()
    for partner, sets in (("KOR", "warning"), ("USA", "warning, source@1")):
        rules = [*_withholding(), *_releasing(sets)]
        assert len(rules) == RULES, len(rules)
        text = f"partner: {partner}\nrules:\n" + "\n".join(rules)
        (directory / "partners" / f"{partner}.yaml").write_text(text, encoding="utf-8")
