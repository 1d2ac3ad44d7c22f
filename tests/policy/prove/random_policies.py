"""Random policies with invariants, random valid reports and random circumstances, fast enough for a million.

Everything is drawn from small pools that meet each other: the values of the reports are those that the conditions ask
for, so that rules match, withhold, err and release.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from signalfire.v1 import report_pb2

from policy import Bundle, Kind, compile_bundle
from policy.decision import Circumstances
from policy.specimen import specimen

NODE, PARTNER, OTHER = "JPN", "KOR", "USA"
START = datetime(2024, 1, 1, tzinfo=UTC)
END = datetime(2025, 1, 1, tzinfo=UTC)
TIMES = [START - timedelta(microseconds=1), START, datetime(2024, 6, 1, tzinfo=UTC), END, END + timedelta(days=400)]
POSTURES = ["ROUTINE", "HEIGHTENED", "IMMINENT"]
LEVELS = ["UNCLASSIFIED", "RESTRICTED", "CONFIDENTIAL", "SECRET", "TOP_SECRET"]
CLASSES = ["LIVE", "EXERCISE", "TEST"]
COUNTRIES = ["PRK", "RUS", "CHN", "UNKNOWN"]
CAVEATS = ["X", "EYES-ONLY"]

POLICY = """\
node: JPN
posture: ROUTINE
agreements:
  treaty:
    title: A treaty
    basis: Signed and ratified
    parties: [JPN, KOR]
    from: 2024-01-01
    until: 2025-01-01
    kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]
countries:
  neighbours: [PRK, CHN]
areas:
  korea: {circle: {centre: [38.0, 127.5], radius_m: 300000}}
equivalences:
  NATO: {SECRET: CONFIDENTIAL, RESTRICTED: RESTRICTED}
"""

ANY_KIND = [
    'report.threat.launch_country == "PRK"',
    '(report.threat.launch_country != "PRK" || report.threat.launch_country == "UNKNOWN")',
    '(report.threat.launch_country in countries.neighbours || report.threat.launch_country == "UNKNOWN")',
    "report.precedence >= Precedence.PRECEDENCE_IMMEDIATE",
    "report.marking.classification < Classification.CLASSIFICATION_SECRET",
    '"X" in report.marking.caveats',
    'report.marking.caveats.exists(c, c == "EYES-ONLY")',
    "6 / size(report.references) > 2",
    "report.references.exists(r, r.originator_node == 'USA')",
    'report.event_id.startsWith("ev")',
    'report.event_id.matches("^ev-[0-9]$")',
    'posture == "ROUTINE"',
    'now < timestamp("2024-06-01T00:00:00Z")',
    'now - report.report_time < duration("90s")',
    "size(report.threat.launch_area) > 3",
]
OF_TRACK = [
    "report.track.quality >= 5u",
    "report.track.position.height_m > 1000.0",
    "report.track.position.height_m + 1e20 > 1e20",
    "0.0 / report.track.position.height_m < 1.0",
    "has(report.track.velocity) && report.track.velocity.x_mps > 0.0",
    "report.track.velocity.x_mps * 2.0 > 1.0",
    "report.track.status == TrackStatus.TRACK_STATUS_DROPPING",
    "inside(report.track.position, areas.korea)",
]
OF_LAUNCH = [
    "report.launch_detection.certainty >= Certainty.CERTAINTY_PROBABLE",
    "report.launch_detection.object_count / 2u == 1u",
    "report.launch_detection.initial_azimuth_deg < 90.0",
    "inside(report.launch_detection.launch_point, areas.korea)",
]
FIELDS = ["envelope@1", "threat@1", "references@1", "launch@1", "track@1", "recall@1", "source@1"]
LEAVES = ["track.velocity.x_mps", "track.position.height_m", "event_id", "originator_station", "references.report_id"]


def _some(random: Random, words: list[str], least: int = 1) -> str:
    return f"[{', '.join(sorted(random.sample(words, random.randint(least, len(words)))))}]"


def condition(random: Random, kinds: list[str]) -> str:
    """A condition for rules of these kinds."""
    pool = list(ANY_KIND)
    if kinds == ["Track"]:
        pool += OF_TRACK * 3
    if kinds == ["LaunchDetection"]:
        pool += OF_LAUNCH * 4
    text = random.choice(pool)
    for _ in range(random.choice([0, 0, 1, 1, 2])):
        pattern = random.choice(["({}) && ({})", "({}) || ({})", "({}) ? ({}) : false"])
        text = pattern.format(text, random.choice(pool))
    return text


def _kinds(random: Random) -> list[str]:
    return random.choice([["Track"], ["Track"], ["LaunchDetection"], ["LaunchDetection"], [str(kind) for kind in Kind]])


def _rule(random: Random, number: int) -> list[str]:
    kinds = _kinds(random)
    release = random.random() < 0.8
    lines = [
        f"  - name: rule-{number}",
        f"    effect: {'release' if release else 'withhold'}",
        "    reason: Because",
        f"    kinds: [{', '.join(kinds)}]",
        f"    traffic_classes: {_some(random, CLASSES)}",
    ]
    if random.random() < 0.3:
        lines.append(f"    posture: {_some(random, POSTURES)}")
    if random.random() < 0.25:
        lines.append(f"    originators: {random.choice(['[USA]', '[JPN, USA]'])}")
    if random.random() < 0.6:
        lines += ["    when: |", f"      {condition(random, kinds)}"]
    if not release:
        return lines
    lines += [f"    ceiling: {random.choice(LEVELS[1:])}", f"    fields: {_some(random, [*FIELDS, *LEAVES])}"]
    if random.random() < 0.4:
        lines.append("    agreement: treaty")
    if random.random() < 0.2:
        lines.append("    hold_s: 60")
    if random.random() < 0.2:
        lines.append("    coarsen: {position: {grid_m: 10000}, time_s: 60}")
    if random.random() < 0.2:
        lines.append("    remark: {classification: RESTRICTED, add_caveats: [X]}")
    return lines


def _invariant(random: Random, number: int) -> list[str]:
    kinds = _kinds(random)
    lines = [
        f"  - name: invariant-{number}",
        "    reason: Because",
        "    partners: all",
        f"    kinds: [{', '.join(kinds)}]",
    ]
    if random.random() < 0.3:
        lines.append(f"    traffic_classes: {_some(random, CLASSES)}")
    if random.random() < 0.3:
        lines.append(f"    postures: {_some(random, POSTURES)}")
    said = random.random()
    if said < 0.75:
        lines += ["    never: |", f"      {condition(random, kinds)}"]
    if said > 0.6 and said < 0.9:
        lines.append(f"    fields: [{random.choice([*FIELDS, *LEAVES])}]")
    if said >= 0.9 or random.random() < 0.1:
        lines.append(f"    sent_classification_above: {random.choice(LEVELS[:4])}")
    return lines


def files(random: Random, rules: int = 5, invariants: int = 6) -> dict[str, bytes]:
    """A bundle for one partner. Some are refused: their rules can be seen to shadow each other."""
    partner = ["partner: KOR", "rules:"]
    for number in range(random.randint(1, rules)):
        partner += _rule(random, number)
    kept = ["invariants:"]
    for number in range(invariants):
        kept += _invariant(random, number)
    return {
        "policy.yaml": POLICY.encode(),
        "partners/KOR.yaml": "\n".join(partner).encode(),
        "invariants.yaml": "\n".join(kept).encode(),
    }


def bundle(random: Random) -> Bundle:
    """A compiled bundle."""
    return compile_bundle(files(random))


@dataclass(frozen=True)
class Drawn:
    """A report and the circumstances of its decision."""

    report: report_pb2.Report
    circumstances: Circumstances


def drawn(random: Random) -> Drawn:
    """A random valid report at JPN, and random circumstances."""
    now = random.choice(TIMES)
    made = now - timedelta(seconds=random.choice([0, 30, 90, 600]))
    own = random.random() < 0.7
    kind = random.choice([Kind.TRACK, Kind.TRACK, Kind.LAUNCH_DETECTION, Kind.LAUNCH_DETECTION, *Kind])
    report = specimen(kind, node=NODE if own else OTHER, partner=PARTNER, now=made)
    report.traffic_class = report_pb2.TrafficClass.ValueType(random.choice([1, 1, 2, 3]))
    marking = report.marking
    marking.classification = report_pb2.Classification.ValueType(random.randint(1, 5))
    marking.policy = random.choice(["JPN", "JPN", "NATO", "AUS"])
    marking.caveats.extend(random.sample(CAVEATS, random.choice([0, 0, 1, 2])))
    if random.random() < 0.9:
        marking.onward_release.append(PARTNER)
    report.threat.launch_country = random.choice(COUNTRIES)
    report.threat.launch_area = random.choice(["", "Hwa", "Sunan"])
    report.event_id = random.choice(["event", "ev-1", "ex-7"])
    for number in range(random.choice([0, 0, 1, 2, 3])):
        reference = report.references.add(originator_node=random.choice(["JPN", "USA"]))
        reference.report_id = f"5f0c6f3e-0002-4000-8000-{number:012d}"
        reference.relation = report_pb2.REFERENCE_RELATION_UPDATES
    if kind is not Kind.LAUNCH_DETECTION or report.references or not own:
        report.precedence = report_pb2.Precedence.ValueType(random.randint(1, 4))
    if kind is Kind.TRACK:
        _vary_track(random, report.track)
    if kind is Kind.LAUNCH_DETECTION:
        _vary_launch(random, report.launch_detection)
    if not own:
        _thin(random, report)
    accepted = now - timedelta(seconds=random.choice([0, 60, 600]))
    trusted = random.random() < 0.9
    return Drawn(report, Circumstances(now, random.choice(POSTURES), accepted, clock_trusted=trusted))


def _vary_track(random: Random, track: report_pb2.Track) -> None:
    track.quality = random.choice([0, 4, 5, 15])
    track.status = report_pb2.TrackStatus.ValueType(random.randint(1, 4))
    track.position.height_m = random.choice([0.0, -0.0, 0.5, 1000.0, 1000.5, 4e6])
    track.position.latitude_deg, track.position.longitude_deg = random.choice([(38.0, 127.0), (0.0, 0.0), (90.0, 12.0)])
    if random.random() < 0.6:
        speed = random.choice([0.0, 0.5, 0.6, -1.0, 20_000.0])
        track.velocity.CopyFrom(
            report_pb2.Velocity(frame=report_pb2.REFERENCE_FRAME_ENU, x_mps=speed, y_mps=0, z_mps=0)
        )


def _vary_launch(random: Random, launch: report_pb2.LaunchDetection) -> None:
    launch.certainty = report_pb2.Certainty.ValueType(random.randint(1, 3))
    launch.object_count = random.choice([1, 2, 3, 1000])
    launch.launch_point.latitude_deg, launch.launch_point.longitude_deg = random.choice([(38.0, 127.0), (0.0, 0.0)])
    if random.random() < 0.5:
        launch.initial_azimuth_deg = random.choice([0.0, 89.9, 90.0, 359.0])
        launch.azimuth_uncertainty_deg = 3


def _thin(random: Random, report: report_pb2.Report) -> None:
    """What another originator's policy kept back."""
    for name in ("threat", "event_id", "valid_time", "references", "originator_station"):
        if random.random() < 0.2:
            report.ClearField(name)
    if report.HasField("track"):
        for inside in ("position", "velocity", "quality", "status"):
            if random.random() < 0.2:
                report.track.ClearField(inside)
        if random.random() < 0.2:
            report.track.position.ClearField("height_m")
    if report.HasField("launch_detection"):
        for left_out in ("launch_point", "certainty", "object_count"):
            if random.random() < 0.2:
                report.launch_detection.ClearField(left_out)
