from typing import ClassVar

from geographiclib.geodesicline import GeodesicLine

class Geodesic:
    a: float
    f: float
    WGS84: ClassVar[Geodesic]
    STANDARD: ClassVar[int]
    LATITUDE: ClassVar[int]
    LONGITUDE: ClassVar[int]
    AZIMUTH: ClassVar[int]
    DISTANCE: ClassVar[int]
    def __init__(self, a: float, f: float) -> None: ...
    def Inverse(self, lat1: float, lon1: float, lat2: float, lon2: float, outmask: int = ...) -> dict[str, float]: ...
    def Direct(self, lat1: float, lon1: float, azi1: float, s12: float, outmask: int = ...) -> dict[str, float]: ...
    def Line(self, lat1: float, lon1: float, azi1: float, caps: int = ...) -> GeodesicLine: ...
