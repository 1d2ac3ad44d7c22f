"""Scenario files: what happened, by which public source, and which nations watch. The format is `docs/scenarios.md`.

Rules, in order:

1. The file is YAML 1.2 of plain values (no tags, no duplicate keys); times are quoted texts.
2. Every key is known and every value of its type and range; nothing is converted.
3. The traffic class is EXERCISE: a replay is never LIVE.
4. Every launch cites at least one source, and every source cited is listed. Names are unique.
5. Launches stand in order of time, and each has a flight (`gateway.demo.flight`) that outlasts its burn.
6. Whatever is staged, an early estimate, a duplicate detection or an act (`gateway.demo.acts`), names nations, stations
   and launches of the file.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from signalfire.v1 import report_pb2

from gateway.demo.acts import Act, unknown_nations
from gateway.demo.errors import FlightError, ScenarioError
from gateway.demo.flight import Flight
from gateway.demo.nations import NATIONS, Nation, NodeName
from gateway.demo.wgs84 import Point


def _known_class(name: str) -> str:
    allowed = [
        value.name.removeprefix("MISSILE_CLASS_")
        for value in report_pb2.MissileClass.DESCRIPTOR.values
        if value.number != report_pb2.MISSILE_CLASS_UNSPECIFIED
    ]
    if name not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}")
    return name


def _in_utc(instant: datetime) -> datetime:
    if instant.utcoffset() != timedelta(0):
        raise ValueError("must be UTC: end it with Z")
    return instant.astimezone(UTC)


MissileClassName = Annotated[str, AfterValidator(_known_class)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
Kilometres = Annotated[float, Field(gt=0, le=50_000)]
Fact = Literal["launched_at", "missile", "class", "site", "bearing_deg", "range_km", "apogee_km", "burn_s", "outcome"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Source(_Strict):
    """A public source."""

    key: Name
    title: Annotated[str, Field(min_length=1)]
    url: Annotated[str, Field(pattern=r"^https?://\S+$")]


class Site(_Strict):
    """A launch site. `country` is an ISO 3166-1 alpha-3 code; `name` becomes the contract's `launch_area`."""

    country: NodeName
    name: Annotated[str, Field(min_length=1, max_length=64)]
    latitude_deg: Annotated[float, Field(ge=-89, le=89)]
    longitude_deg: Annotated[float, Field(ge=-180, le=180)]


class EarlyEstimate(_Strict):
    """Figures that a nation believed first and then corrected: its predictions rest on them until it does."""

    node: NodeName
    range_km: Kilometres
    apogee_km: Kilometres
    corrected_after_s: Annotated[float, Field(gt=0, le=3600)]
    source: Annotated[tuple[Name, ...], Field(min_length=1)]
    assumed: tuple[Literal["range_km", "apogee_km", "corrected_after_s", "node"], ...] = ()
    note: str | None = None


class Launch(_Strict):
    """One launch. `assumed` names the figures that the public record lacks and that this file supplies."""

    id: Name
    launched_at: UtcTime
    missile: Annotated[str, Field(min_length=1)]
    missile_class: Annotated[MissileClassName, Field(alias="class")]
    site: Site
    bearing_deg: Annotated[float, Field(ge=0, lt=360)]
    range_km: Kilometres
    apogee_km: Kilometres
    burn_s: Annotated[float, Field(gt=0, le=600)]
    outcome: Literal["success", "failure", "unknown"]
    source: Annotated[tuple[Name, ...], Field(min_length=1)]
    assumed: tuple[Fact, ...] = ()
    early_estimate: EarlyEstimate | None = None
    note: str | None = None

    def flight(self) -> Flight:
        """The computed flight of this launch's figures."""
        return self._flight(self.range_km, self.apogee_km)

    def estimated_flight(self) -> Flight:
        """The flight that the early estimate supposes; the true figures' flight where there is none."""
        estimate = self.early_estimate
        return self.flight() if estimate is None else self._flight(estimate.range_km, estimate.apogee_km)

    def _flight(self, range_km: float, apogee_km: float) -> Flight:
        return Flight(
            site=Point(self.site.latitude_deg, self.site.longitude_deg),
            bearing_deg=self.bearing_deg,
            range_m=range_km * 1000,
            apogee_m=apogee_km * 1000,
        )

    @model_validator(mode="after")
    def _flies(self) -> Self:
        try:
            flight = self.flight()
            self.estimated_flight()
        except FlightError as error:
            raise ValueError(str(error)) from error
        if self.burn_s > flight.flight_time_s:
            raise ValueError(f"burn_s {self.burn_s} outlasts the flight of {flight.flight_time_s:.0f} s")
        if len(set(self.assumed)) != len(self.assumed):
            raise ValueError("assumed names a figure twice")
        return self


class DuplicateDetection(_Strict):
    """Staged, not history: a station reports a launch a second time as a new one, and its nation cancels it."""

    node: NodeName
    station: Name
    launch: Name
    after_s: Annotated[float, Field(gt=0, le=3600)]
    cancelled_after_s: Annotated[float, Field(gt=0, le=3600)]

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.cancelled_after_s <= self.after_s:
            raise ValueError("cancelled_after_s must come after after_s; both count from the launch")
        return self


class Scenario(_Strict):
    """One scenario: facts, sources, and who watches."""

    name: Name
    title: Annotated[str, Field(min_length=1)]
    summary: Annotated[str, Field(min_length=1)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    traffic_class: Literal["EXERCISE"]
    launches: Annotated[tuple[Launch, ...], Field(min_length=1)]
    duplicate_detections: tuple[DuplicateDetection, ...] = ()
    acts: tuple[Act, ...] = ()
    nations: Annotated[tuple[Nation, ...], Field(min_length=1)] = NATIONS

    @property
    def start(self) -> datetime:
        """Second 0 of the scenario: the first launch."""
        return self.launches[0].launched_at

    def seconds_to(self, launch: Launch) -> float:
        """When the launch takes place, in seconds since the scenario's start."""
        return (launch.launched_at - self.start).total_seconds()

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        _unique("source key", [source.key for source in self.sources])
        _unique("launch id", [launch.id for launch in self.launches])
        _unique("nation", [nation.node for nation in self.nations])
        times = [launch.launched_at for launch in self.launches]
        if times != sorted(times):
            raise ValueError("launches must stand in order of launched_at")
        stations = {nation.node: nation.stations for nation in self.nations}
        known = {source.key for source in self.sources}
        for launch in self.launches:
            estimate = launch.early_estimate
            cited = set(launch.source) | (set(estimate.source) if estimate else set())
            if cited - known:
                raise ValueError(f"launch {launch.id} cites {sorted(cited - known)}, not listed in sources")
            if estimate and estimate.node not in stations:
                raise ValueError(f"the early estimate of {launch.id} is by {estimate.node}, no nation of this file")
        for duplicate in self.duplicate_detections:
            if duplicate.station not in stations.get(duplicate.node, ()):
                raise ValueError(f"a duplicate detection names {duplicate.node}/{duplicate.station}, no such station")
            if duplicate.launch not in {launch.id for launch in self.launches}:
                raise ValueError(f"a duplicate detection names launch {duplicate.launch}, which is not listed")
        if unknown := unknown_nations(self.acts, stations):
            raise ValueError(f"an act names {', '.join(unknown)}, no nation of this file")
        return self


def _unique(what: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what} given twice: {', '.join(twice)}")


def parse_scenario(text: str, *, where: str) -> Scenario:
    """Read a scenario from its text; `where` names it in errors.

    :raises ScenarioError: if it breaks a rule of this module.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        raw = yaml.load(text)
    except YAMLError as error:
        raise ScenarioError(
            f"The YAML cannot be read: {_one_line(str(error))}", where=where, mend="Mend the YAML."
        ) from error
    try:
        # JSON mode is the strict one that still takes a list for a tuple and a text for a time.
        plain = json.dumps(raw, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ScenarioError(
            f"A value is neither text, number, list nor mapping: {error}",
            where=where,
            mend='Write times in quotes, as "2017-09-14T21:57:00Z", and no infinite numbers.',
        ) from error
    try:
        return Scenario.model_validate_json(plain)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'scenario'}: {fault['msg']}"
            for fault in error.errors(include_url=False)
        )
        raise ScenarioError(
            f"The scenario breaks its format: {faults}", where=where, mend="See docs/scenarios.md."
        ) from error


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    :raises ScenarioError: if it cannot be read or breaks a rule of this module.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(
            f"The scenario cannot be read: {error}", where=str(path), mend="Name a readable UTF-8 file."
        ) from error
    return parse_scenario(text, where=str(path))


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
