"""The public record of the scenarios' launches, for tests to hold the scenario files against.

From the CNS North Korea Missile Test Database (James Martin Center for Nonproliferation Studies, for NTI), with
bearings from Japan's Ministry of Defense by nagix/nk-missile-tests (Apache-2.0): rows of 2006-07-05, 2017-09-14 and
2022-06-05. None stands for what a row lacks. In 2006 rows are numbered by type and have no times; the order given here
is that of the launches in their type.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """`time_utc` as HH:MM."""

    time_utc: str | None
    type_name: str | None
    site_lat_deg: float
    site_lon_deg: float
    apogee_km: float
    range_km: float
    bearing_deg: float


KITTAERYONG = (38.99083, 127.6236)
TONGHAE = (40.8499966, 129.666664)
SOHAE = (39.6596, 124.7057)
HUNGNAM = (39.811611, 127.66375)
SUNAN = (39.200159, 125.673256)
KAECHON = (39.752321, 125.899905)

SEVEN_MISSILES = {
    "no-1": Row(None, "Scud-C", *KITTAERYONG, 150, 420, 54),
    "no-2": Row(None, "Nodong", *KITTAERYONG, 150, 400, 53),
    "no-3": Row(None, "Unha", *TONGHAE, 40, 500, 92),
    "no-4": Row(None, "Scud-C", *KITTAERYONG, 150, 440, 52),
    "no-5": Row(None, "Nodong", *KITTAERYONG, 150, 440, 50),
    "no-6": Row(None, "Nodong", *KITTAERYONG, 150, 420, 51),
    "no-7": Row(None, "Nodong", *KITTAERYONG, 150, 400, 49),
}
OVER_JAPAN = {"no-1": Row("21:57", "Hwasong-12", *SUNAN, 770, 3700, 72)}
EIGHT_MISSILES = {
    "no-1": Row("00:06", None, *SOHAE, 50, 350, 76),
    "no-2": Row("00:10", None, *HUNGNAM, 50, 300, 72),
    "no-3": Row("00:15", None, *SOHAE, 50, 400, 74),
    "no-4": Row(None, None, *HUNGNAM, 25, 110, 58),
    "no-5": Row("00:24", None, *SOHAE, 100, 350, 76),
    "no-6": Row("00:30", None, *SUNAN, 50, 400, 62),
    "no-7": Row(None, None, *HUNGNAM, 25, 110, 58),
    "no-8": Row("00:41", None, *KAECHON, 100, 300, 71),
}
RECORD = {
    "2006-07-05-seven-missiles": SEVEN_MISSILES,
    "2017-09-14-over-japan": OVER_JAPAN,
    "2022-06-05-eight-missiles": EIGHT_MISSILES,
}

WIKINEWS_2006_JST = ("03:32", "04:04", "04:59", "07:13", "07:30", "08:17", "17:22")
"""Times of the seven launches of 5 July 2006, JST, as the Japanese Wikinews has them."""
