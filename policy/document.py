"""The documents of a bundle as an officer writes them, and what each key must hold. No I/O.

``policy.yaml`` holds what the partners' files share: the node, its default posture, its agreements, country lists,
areas, field sets and equivalences of classification. ``partners/<CODE>.yaml`` holds the rules for one partner, in the
order in which they are tried.

The models refuse every key that they do not know and give no default to anything that decides who gets what: the
traffic classes, the kinds, the ceiling and the fields of a rule are always written out. A default may only mean
"always" (``when``), "in any posture" (``posture``), "cites no agreement" (``agreement``), "our own reports" where the
rule releases and "everybody's" where it withholds (``originators``), "unchanged" (``coarsen``, ``remark``) or "at once"
(``hold_s``).

Values come from ``policy.yaml_source`` as text, lists and mappings of text; what a text stands for is said by its type
(``policy.texts``). ``policy.written`` reads the files by these models, and ``policy.document_reader`` says what
does not fit.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from policy.texts import (
    AreaFile,
    Caveat,
    ClassificationWord,
    CoarseMetres,
    CoarseSeconds,
    CoarseSpeed,
    CountryCode,
    HoldSeconds,
    Identifier,
    KindWord,
    Latitude,
    ListOf,
    Longitude,
    MarkingPolicy,
    Moment,
    Name,
    NodeCode,
    PostureWord,
    Prose,
    Radius,
    TrafficClassWord,
    each_once,
)


class Document(BaseModel):
    """A mapping of keys that are known; no other is taken, and nothing is made of a value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Agreement(Document):
    """A legal basis. In force from ``from`` until, not including, ``until``; a day stands for its start, UTC."""

    title: Prose
    basis: Prose
    parties: ListOf[NodeCode]
    from_: Annotated[Moment, Field(alias="from")]
    until: Moment
    kinds: ListOf[KindWord]


_Corner = Annotated[tuple[Latitude, Longitude], Field(strict=False)]


class Circle(Document):
    """All points at most a geodesic distance away from one."""

    centre: _Corner
    radius_m: Radius


class AreaDocument(Document):
    """A named area: a circle, a polygon of (latitude, longitude) corners, or a GeoJSON file of the bundle."""

    circle: Circle | None = None
    polygon: Annotated[tuple[_Corner, ...], Field(strict=False, max_length=512)] | None = None
    geojson: AreaFile | None = None


class Position(Document):
    """How a position is coarsened: one of the two."""

    grid_m: CoarseMetres | None = None
    round_m: CoarseMetres | None = None


class Coarsen(Document):
    """What of a released copy is made coarser, and how far."""

    position: Position | None = None
    velocity_mps: CoarseSpeed | None = None
    time_s: CoarseSeconds | None = None


class RemarkDocument(Document):
    """How a released copy is marked anew."""

    classification: ClassificationWord | None = None
    add_caveats: ListOf[Caveat] | None = None
    onward_release: Annotated[tuple[NodeCode, ...], Field(strict=False), AfterValidator(each_once)] | None = None


class _Rule(Document):
    name: Name
    reason: Prose
    kinds: ListOf[KindWord]
    traffic_classes: ListOf[TrafficClassWord]
    posture: ListOf[PostureWord] | None = None
    originators: ListOf[NodeCode] | None = None
    agreement: Name | None = None
    when: str | None = None


class ReleaseRule(_Rule):
    """A rule that releases the named fields of the reports that it matches."""

    effect: Literal["release"]
    ceiling: ClassificationWord
    fields: ListOf[str]
    coarsen: Coarsen | None = None
    hold_s: HoldSeconds | None = None
    remark: RemarkDocument | None = None


class WithholdRule(_Rule):
    """A rule that keeps back the reports that it matches, whatever releases them.

    It may cite an agreement as its legal basis; it keeps back whether that is in force or not.
    """

    effect: Literal["withhold"]


Rule = ReleaseRule | WithholdRule


class PolicyKeys(Document):
    """The keys of ``policy.yaml``. What stands in its sections is read name by name."""

    node: NodeCode
    posture: PostureWord
    agreements: dict[str, Any] = {}
    countries: dict[str, Any] = {}
    areas: dict[str, Any] = {}
    field_sets: dict[str, Any] = {}
    equivalences: dict[str, Any] = {}


class PartnerKeys(Document):
    """The keys of a partner's file. Its rules are read one by one."""

    partner: NodeCode
    rules: list[Any]


class FieldSetKeys(Document):
    """A field set."""

    fields: ListOf[str]


class CountriesKeys(Document):
    """A country list."""

    countries: ListOf[CountryCode]


class EquivalencesKeys(Document):
    """What another marking's levels are in the node's own."""

    levels: Annotated[dict[ClassificationWord, ClassificationWord], Field(min_length=1)]


class NameKey(Document):
    """The name of an agreement or a field set."""

    name: Name


class IdentifierKey(Document):
    """The name of a country list or an area, which conditions use."""

    name: Identifier


class MarkingPolicyKey(Document):
    """Whose markings an equivalence is about."""

    name: MarkingPolicy
