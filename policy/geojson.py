"""GeoJSON texts (RFC 7946), strictly: which polygons they hold. Pure: no I/O.

Rules, in order:

1. The text is UTF-8 JSON of at most ``GEOJSON_BYTES`` bytes; no key stands twice in an object, and every number is
   finite (RFC 8259 leaves both open; RFC 7493 does not).
2. It is a Polygon, a MultiPolygon, a Feature of one, or a FeatureCollection of exactly one Feature.
3. It has no ``crs``: coordinates are WGS-84 (RFC 7946, section 4), and a text that says otherwise is an older format.
4. A ring has at least four positions, and the last is the first (section 3.1.6). A position is longitude, latitude
   and perhaps a height, which is not used.

Whether the rings make sense on the Earth is for ``policy.areas``.
"""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn

from policy.errors import AreaError

GEOJSON_BYTES: Final = 1024 * 1024
"""Bytes of a GeoJSON text: the border of a country to about a hundred metres."""

Corner = tuple[float, float]
"""Latitude and longitude, degrees: the order of this language, not of GeoJSON."""

Polygon = list[list[Corner]]
"""Rings without their closing position: the outline, then holes."""


def polygons(content: bytes) -> list[Polygon]:
    """The polygons of a GeoJSON text, at least one, each with at least one ring. Raises AreaError."""
    if len(content) > GEOJSON_BYTES:
        _refuse(f"The GeoJSON has {len(content):,} bytes; the limit is {GEOJSON_BYTES:,}.", "Simplify the polygon.")
    geometry = _geometry(_read(content))
    coordinates = geometry.get("coordinates")
    if geometry.get("type") == "Polygon":
        return [_polygon(coordinates)]
    if not isinstance(coordinates, list) or not coordinates:
        _refuse("The MultiPolygon holds no polygons.", "Write them under coordinates.")
    return [_polygon(part) for part in coordinates]


def _refuse(what: str, remedy: str) -> NoReturn:
    raise AreaError(f"{what} {remedy}")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(f'The GeoJSON has the key "{twice}" twice in one object.', "Take one out.")
    return found


def _no_constant(word: str) -> NoReturn:
    _refuse(f"The GeoJSON holds {word}.", "Every number is finite.")


def _read(content: bytes) -> object:
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise AreaError(f"The GeoJSON is not UTF-8 at byte {error.start}. Save it as UTF-8.") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise AreaError(f"The GeoJSON is no JSON at {place}: {error.msg}. Mend it.") from error
    except RecursionError as error:
        raise AreaError("The GeoJSON is nested too deeply. A polygon needs six levels.") from error
    except ValueError as error:
        raise AreaError("The GeoJSON holds a number of too many digits. Shorten it.") from error


def _geometry(value: object) -> dict[str, object]:
    remedy = "Write a Polygon, a MultiPolygon, a Feature of one, or a FeatureCollection of one Feature."
    if not isinstance(value, dict):
        _refuse("The GeoJSON is no object.", remedy)
    if "crs" in value:
        _refuse('The GeoJSON has a "crs".', "Export it as RFC 7946, in WGS-84 longitude and latitude.")
    match value.get("type"):
        case "FeatureCollection":
            features = value.get("features")
            if not isinstance(features, list) or len(features) != 1:
                _refuse("The FeatureCollection does not hold exactly one feature.", "Give each area a file of its own.")
            feature = features[0]
            if not isinstance(feature, dict) or feature.get("type") != "Feature":
                _refuse("The FeatureCollection holds what is no Feature.", remedy)
            return _geometry(feature)
        case "Feature":
            geometry = value.get("geometry")
            if isinstance(geometry, dict) and geometry.get("type") not in ("Polygon", "MultiPolygon"):
                _refuse(f"The Feature is a {geometry.get('type')}, no polygon.", remedy)
            return _geometry(geometry)
        case "Polygon" | "MultiPolygon":
            return value
        case other:
            _refuse(f'The GeoJSON is of the type "{other}".', remedy)


def _polygon(rings: object) -> Polygon:
    if not isinstance(rings, list) or not rings:
        _refuse("A polygon of the GeoJSON holds no rings.", "Write its outline under coordinates.")
    return [_ring(ring, number) for number, ring in enumerate(rings, 1)]


def _ring(ring: object, number: int) -> list[Corner]:
    if not isinstance(ring, list) or len(ring) < 4:
        _refuse(f"Ring {number} has fewer than four positions.", "Three corners, and the first again at the end.")
    corners = [_position(position, number) for position in ring]
    if corners[0] != corners[-1]:
        _refuse(f"Ring {number} is not closed.", "Its last position is its first (RFC 7946, section 3.1.6).")
    return corners[:-1]


def _position(position: object, number: int) -> Corner:
    if not isinstance(position, list) or len(position) not in (2, 3) or not all(map(_is_number, position)):
        _refuse(f"Ring {number} holds {json.dumps(position)[:60]}.", "A position is [longitude, latitude].")
    longitude, latitude = float(position[0]), float(position[1])
    return latitude, longitude


def _is_number(value: object) -> bool:
    return (isinstance(value, float) and math.isfinite(value)) or (type(value) is int and abs(value) < 1e9)
