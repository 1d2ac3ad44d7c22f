"""The nations that watch: their sensors and markings, and the default three that scenarios share.

The sensor figures are invented. They are of a plausible order, so that nations see different parts of the same
flight; they stand for no real sensor, and no place here is the site of one. The markings are invented likewise.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.demo.wgs84 import Point

Station = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
NodeName = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
ClassificationName = Literal["UNCLASSIFIED", "RESTRICTED", "CONFIDENTIAL", "SECRET", "TOP_SECRET"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Coverage(_Strict):
    """What a radar reaches: straight-line distance, and elevation above its local horizontal."""

    min_range_km: Annotated[float, Field(ge=0)]
    max_range_km: Annotated[float, Field(gt=0, le=50_000)]
    min_elevation_deg: Annotated[float, Field(ge=0, lt=90)]

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if self.min_range_km >= self.max_range_km:
            raise ValueError("min_range_km must be less than max_range_km")
        return self


class Sensor(_Strict):
    """One sensor. In space it sees every burning motor and nothing else; elsewhere it sees what its coverage holds.

    `noise_m` is the standard deviation of a measured point along each of east, north and up; `launch_point_m` and
    `launch_time_s` are those of the launch point and time that it infers.
    """

    station: Station
    modality: Literal["SPACE_INFRARED", "GROUND_RADAR", "SEA_RADAR", "AIRBORNE"]
    place: tuple[float, float] | Literal["space"]
    delay_s: Annotated[float, Field(ge=0, le=600)]
    revisit_s: Annotated[float, Field(ge=0.5, le=600)]
    noise_m: Annotated[float, Field(gt=0, le=100_000)]
    launch_point_m: Annotated[float, Field(gt=0, le=500_000)]
    launch_time_s: Annotated[float, Field(gt=0, le=600)]
    coverage: Coverage | None = None

    @property
    def boost_only(self) -> bool:
        return self.place == "space"

    def point(self) -> Point | None:
        """Where the sensor stands; none in space."""
        return None if self.place == "space" else Point(self.place[0], self.place[1])

    @model_validator(mode="after")
    def _has_coverage_on_earth(self) -> Self:
        if (self.place == "space") != (self.coverage is None):
            raise ValueError("a sensor on Earth has coverage, and one in space has none")
        if (self.place == "space") != (self.modality == "SPACE_INFRARED"):
            raise ValueError("a sensor in space is of modality SPACE_INFRARED, and no other is")
        if self.place != "space" and not (abs(self.place[0]) <= 89 and abs(self.place[1]) <= 180):
            raise ValueError("place is latitude -89 to 89, then longitude -180 to 180")
        return self


class CloseTracks(_Strict):
    """Track points that stations measured within a distance betray how well they see: they carry a caveat, and the
    release policy says what follows from it.
    """

    stations: Annotated[tuple[Station, ...], Field(min_length=1)]
    within_km: Annotated[float, Field(gt=0)]
    caveat: Annotated[str, Field(pattern=r"^[A-Z0-9 _-]{1,32}$")]


class Markings(_Strict):
    """How a nation marks each kind of report. A withdrawal is marked as what it withdraws."""

    launch_detection: ClassificationName
    track: ClassificationName
    impact_prediction: ClassificationName
    all_clear: ClassificationName
    releasable_to: tuple[NodeName, ...]
    space_caveats: tuple[Annotated[str, Field(pattern=r"^[A-Z0-9 _-]{1,32}$")], ...] = ()
    close_tracks: CloseTracks | None = None


class Nation(_Strict):
    """One nation: its sensors, the centre where predictions are made, how it names things and marks reports."""

    node: NodeName
    centre: Station
    centre_delay_s: Annotated[float, Field(ge=0, le=600)]
    event_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]{1,24}$")]
    track_prefix: Annotated[str, Field(pattern=r"^[A-Z]{1,8}$")]
    clock_uncertainty_ms: Annotated[float, Field(ge=0, le=3_600_000)]
    markings: Markings
    sensors: Annotated[tuple[Sensor, ...], Field(min_length=1)]

    @property
    def stations(self) -> tuple[str, ...]:
        return tuple(sensor.station for sensor in self.sensors)

    @model_validator(mode="after")
    def _names_stations_once(self) -> Self:
        names = [*self.stations, self.centre]
        if len(set(names)) != len(names):
            raise ValueError("a station or centre is named twice")
        close = self.markings.close_tracks
        if close and set(close.stations) - set(self.stations):
            raise ValueError("close_tracks names a station that is not listed")
        return self


JAPAN: Final = Nation(
    node="JPN",
    centre="air-defence-centre",
    centre_delay_s=4.0,
    event_prefix="JPN-BM-",
    track_prefix="JA",
    clock_uncertainty_ms=1.0,
    markings=Markings(
        launch_detection="CONFIDENTIAL",
        track="SECRET",
        impact_prediction="RESTRICTED",
        all_clear="UNCLASSIFIED",
        releasable_to=("KOR", "USA"),
    ),
    sensors=(
        Sensor(
            station="radar-north",
            modality="GROUND_RADAR",
            place=(41.0, 141.0),
            delay_s=3.0,
            revisit_s=12.0,
            noise_m=180.0,
            launch_point_m=12_000.0,
            launch_time_s=6.0,
            coverage=Coverage(min_range_km=20, max_range_km=2600, min_elevation_deg=1.5),
        ),
        Sensor(
            station="radar-west",
            modality="GROUND_RADAR",
            place=(36.0, 136.0),
            delay_s=3.0,
            revisit_s=12.0,
            noise_m=200.0,
            launch_point_m=12_000.0,
            launch_time_s=6.0,
            coverage=Coverage(min_range_km=20, max_range_km=2000, min_elevation_deg=1.5),
        ),
        Sensor(
            station="ship-1",
            modality="SEA_RADAR",
            place=(38.5, 134.0),
            delay_s=2.0,
            revisit_s=10.0,
            noise_m=120.0,
            launch_point_m=5_000.0,
            launch_time_s=3.0,
            coverage=Coverage(min_range_km=10, max_range_km=1000, min_elevation_deg=0.8),
        ),
    ),
)

KOREA: Final = Nation(
    node="KOR",
    centre="missile-warning-centre",
    centre_delay_s=3.0,
    event_prefix="KR.",
    track_prefix="KR",
    clock_uncertainty_ms=2.0,
    markings=Markings(
        launch_detection="CONFIDENTIAL",
        track="SECRET",
        impact_prediction="CONFIDENTIAL",
        all_clear="UNCLASSIFIED",
        releasable_to=("JPN", "USA"),
        close_tracks=CloseTracks(stations=("radar-1", "radar-2"), within_km=360, caveat="KOR-USA ONLY"),
    ),
    sensors=(
        Sensor(
            station="radar-1",
            modality="GROUND_RADAR",
            place=(37.0, 127.0),
            delay_s=2.0,
            revisit_s=10.0,
            noise_m=90.0,
            launch_point_m=1_500.0,
            launch_time_s=2.0,
            coverage=Coverage(min_range_km=15, max_range_km=700, min_elevation_deg=1.0),
        ),
        Sensor(
            station="radar-2",
            modality="GROUND_RADAR",
            place=(36.0, 128.0),
            delay_s=2.0,
            revisit_s=12.0,
            noise_m=110.0,
            launch_point_m=2_500.0,
            launch_time_s=3.0,
            coverage=Coverage(min_range_km=15, max_range_km=700, min_elevation_deg=1.0),
        ),
        Sensor(
            station="ship-1",
            modality="SEA_RADAR",
            place=(38.0, 130.0),
            delay_s=2.0,
            revisit_s=10.0,
            noise_m=120.0,
            launch_point_m=2_000.0,
            launch_time_s=2.0,
            coverage=Coverage(min_range_km=10, max_range_km=900, min_elevation_deg=0.5),
        ),
    ),
)

UNITED_STATES: Final = Nation(
    node="USA",
    centre="warning-centre",
    centre_delay_s=5.0,
    event_prefix="US/EV/",
    track_prefix="US",
    clock_uncertainty_ms=0.1,
    markings=Markings(
        launch_detection="SECRET",
        track="SECRET",
        impact_prediction="CONFIDENTIAL",
        all_clear="UNCLASSIFIED",
        releasable_to=("JPN", "KOR"),
        space_caveats=("SPACE-DERIVED",),
    ),
    sensors=(
        Sensor(
            station="space-ir",
            modality="SPACE_INFRARED",
            place="space",
            delay_s=12.0,
            revisit_s=8.0,
            noise_m=1_500.0,
            launch_point_m=3_000.0,
            launch_time_s=3.0,
        ),
        Sensor(
            station="ship-near",
            modality="SEA_RADAR",
            place=(40.0, 136.0),
            delay_s=3.0,
            revisit_s=10.0,
            noise_m=80.0,
            launch_point_m=6_000.0,
            launch_time_s=4.0,
            coverage=Coverage(min_range_km=10, max_range_km=1200, min_elevation_deg=0.8),
        ),
        Sensor(
            station="ship-ocean",
            modality="SEA_RADAR",
            place=(42.0, 158.0),
            delay_s=3.0,
            revisit_s=10.0,
            noise_m=60.0,
            launch_point_m=20_000.0,
            launch_time_s=15.0,
            coverage=Coverage(min_range_km=20, max_range_km=2500, min_elevation_deg=2.0),
        ),
    ),
)

NATIONS: Final = (JAPAN, KOREA, UNITED_STATES)
"""The nations of a scenario that names none of its own."""
