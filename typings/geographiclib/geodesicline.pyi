from geographiclib.geodesic import Geodesic

class GeodesicLine:
    lat1: float
    lon1: float
    azi1: float
    def __init__(
        self,
        geod: Geodesic,
        lat1: float,
        lon1: float,
        azi1: float,
        caps: int = ...,
        salp1: float = ...,
        calp1: float = ...,
    ) -> None: ...
    def Position(self, s12: float, outmask: int = ...) -> dict[str, float]: ...
