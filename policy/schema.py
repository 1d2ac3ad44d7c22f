"""JSON Schema (draft 2020-12) for the files of a bundle, so that editors complete and check what officers write.

The schemas are made from the models that the policy is read with (``policy.document``, ``policy.invariants``,
``policy.cases``): keys, which of them are required, and what each holds. A model that gains a key whose values are not
described here makes none at all, but fails. Pure: no I/O; the published files are in ``policy/schema/``.

An editor's word is not the last one: what only ``check`` can see (names that refer to each other, conditions, times)
is a text here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import FieldDescriptor
from pydantic import BaseModel

from policy import cases, document, invariants, texts, values
from policy.decision import Outcome
from policy.fields import BUILT_IN, LEAVES, MESSAGES, message_inside
from policy.obligations import (
    LEAST_METRES,
    LEAST_SPEED_STEP_MPS,
    LEAST_TIME_STEP_S,
    MOST_METRES,
    MOST_SPEED_STEP_MPS,
    MOST_TIME_STEP_S,
)
from policy.vocabulary import Classification, Kind, Posture, TrafficClass

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def _text(pattern: str, description: str) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$", "description": description}


def _number(kind: str, least: float, most: float, description: str) -> Schema:
    minimum, maximum = (int(bound) if bound == int(bound) else bound for bound in (least, most))
    return {"type": kind, "minimum": minimum, "maximum": maximum, "description": description}


def _words(words: Sequence[str], description: str) -> Schema:
    return {"enum": list(words), "description": description}


_TIME: Final = _text(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})", "A time with its zone.")
_FIELD: Final[Schema] = {
    "anyOf": [{"enum": [*BUILT_IN, *LEAVES]}, {"type": "string", "pattern": f"^(?:{texts.NAME})$"}],
    "description": "A field by its path, a built-in field set, or one of your own.",
}
_CONDITION: Final[Schema] = {"type": "string", "minLength": 1, "description": "A condition in CEL (docs/policy.md)."}
_FREE: Final[Schema] = {"type": "string", "minLength": 1}

_VALUES: Final[tuple[tuple[object, Schema], ...]] = (
    (texts.NodeCode, _text("[A-Z]{3}", "A node: ISO 3166-1 alpha-3.")),
    (texts.CountryCode, _text("[A-Z]{3}", "A node: ISO 3166-1 alpha-3.")),
    (texts.Name, _text(texts.NAME, "A name: a-z, 0-9 and -.")),
    (texts.Prose, {"type": "string", "minLength": 1, "maxLength": 500, "pattern": r"\S"}),
    (texts.Moment, _text(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?", "A day, from 00:00 UTC, or a moment.")),
    (texts.KindWord, _words(list(Kind), "A kind of report.")),
    (texts.TrafficClassWord, _words([word.name for word in TrafficClass], "A traffic class.")),
    (texts.ClassificationWord, _words([word.name for word in Classification], "A level, the lowest first.")),
    (texts.PostureWord, _words(list(Posture), "A posture.")),
    (texts.Caveat, _text(texts.CAVEAT, "A caveat.")),
    (texts.AreaFile, _text(texts.AREA_FILE, "A GeoJSON file of the bundle.")),
    (texts.CoarseMetres, _number("number", LEAST_METRES, MOST_METRES, "Metres.")),
    (texts.CoarseSpeed, _number("number", LEAST_SPEED_STEP_MPS, MOST_SPEED_STEP_MPS, "Metres a second.")),
    (texts.CoarseSeconds, _number("integer", LEAST_TIME_STEP_S, MOST_TIME_STEP_S, "Seconds.")),
    (texts.HoldSeconds, _number("integer", 1, 31 * 86_400, "Seconds after the report was accepted.")),
    (texts.Radius, _number("number", 1, 5_000_000, "Metres.")),
    (texts.Latitude, _number("number", -90, 90, "Degrees north.")),
    (texts.Longitude, _number("number", -180, 180, "Degrees east.")),
    (cases.TimeText, _TIME),
    (cases.OutcomeWord, _words(list(Outcome), "What becomes of the report.")),
)
"""What each type of the models is in JSON. A type that is not here, nor made of these, has no schema."""

_FIELDS: Final[Schema] = {"type": "array", "items": _FIELD, "minItems": 1, "uniqueItems": True}
_ANY_FIELDS: Final[Schema] = {"type": "array", "items": {"enum": [*BUILT_IN, *LEAVES, *sorted(MESSAGES)]}}
_TRUTH: Final[Schema] = {"type": "boolean"}


def _value_of(path: str) -> Schema:
    """What may stand in a case for the field at a path."""
    *_, field = values.fields_along(path)
    if field.enum_type is not None:
        words = values.words_of(field.enum_type)
        one: Schema = {"enum": [*words, *(values.prefix_of(field.enum_type) + word for word in words)]}
    elif message_inside(field) is not None:
        one = {"type": "object"}
    elif field.message_type is not None or field.type == FieldDescriptor.TYPE_STRING:
        one = {"type": "string"}
    else:
        one = {"type": "number"}
    return {"type": "array", "items": one} if field.is_repeated else one


def _settable() -> Schema:
    """Paths that a case may set: values and messages, and lists as a whole."""
    paths = [
        path
        for path in (*LEAVES, *sorted(MESSAGES))
        if not any(field.is_repeated for field in values.fields_along(path)[:-1])
    ]
    return {"type": "object", "properties": {path: _value_of(path) for path in paths}, "additionalProperties": False}


def _expectable() -> Schema:
    listed: Schema = {}
    for path in LEAVES:
        one = _value_of(path)
        through_list = any(field.is_repeated for field in values.fields_along(path)[:-1])
        listed[path] = {"type": "array", "items": one} if through_list else one
    return {"type": "object", "properties": listed, "additionalProperties": False}


def _keyed(model: type[BaseModel], required: Sequence[str], more: Mapping[str, Schema]) -> Schema:
    """A mapping with the keys of a model. ``more`` describes those whose type alone does not say what they hold."""
    hints = get_type_hints(model, include_extras=True)
    properties: Schema = {}
    needed = list(required)
    for name, info in model.model_fields.items():
        key = info.alias or name
        properties[key] = more[key] if key in more else _typed(hints[name])
        if info.is_required() and key not in needed:
            needed.append(key)
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": needed} if needed else found


def _typed(hint: Any) -> Schema:
    """What a type of a model is in JSON. Raises TypeError for one that is not described."""
    origin = get_origin(hint)
    if origin is Annotated:
        for known, schema in _VALUES:
            metadata = get_args(known)[1:]
            if get_args(hint)[0] == get_args(known)[0] and hint.__metadata__[: len(metadata)] == metadata:
                return dict(schema)
        least = [
            part.min_length for info in hint.__metadata__ for part in getattr(info, "metadata", ()) if _least(part)
        ]
        inner = _typed(get_args(hint)[0])
        return {**inner, "minItems": least[0]} if least and inner.get("type") == "array" else inner
    if origin in (Union, UnionType):
        kinds = [_typed(part) for part in get_args(hint) if part is not NoneType]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is tuple:
        parts = get_args(hint)
        if parts[-1] is Ellipsis:
            return {"type": "array", "items": _typed(parts[0]), "uniqueItems": True}
        return {
            "type": "array",
            "prefixItems": [_typed(part) for part in parts],
            "items": False,
            "minItems": len(parts),
        }
    if origin is Literal:
        return {"const": get_args(hint)[0]} if len(get_args(hint)) == 1 else {"enum": list(get_args(hint))}
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _keyed(hint, (), {})
    raise TypeError(f"{hint} has no description in JSON: add it to policy.schema")


def _least(part: object) -> bool:
    return getattr(part, "min_length", None) is not None


def _named(pattern: str, inside: Schema) -> Schema:
    return {"type": "object", "propertyNames": {"pattern": f"^(?:{pattern})$"}, "additionalProperties": inside}


def _one_of(schema: Schema) -> Schema:
    return {**schema, "minProperties": 1, "maxProperties": 1}


def _document(title: str, schema: Schema) -> Schema:
    return {"$schema": _DIALECT, "title": title, **schema}


def _policy() -> Schema:
    level = _typed(texts.ClassificationWord)
    return _keyed(
        document.PolicyKeys,
        (),
        {
            "agreements": _named(texts.NAME, _typed(document.Agreement)),
            "countries": _named(texts.IDENTIFIER, _typed(document.CountriesKeys)["properties"]["countries"]),
            "areas": _named(texts.IDENTIFIER, _one_of(_typed(document.AreaDocument))),
            "field_sets": _named(texts.NAME, _FIELDS),
            "equivalences": _named(
                texts.MARKING_POLICY,
                {"type": "object", "propertyNames": level, "additionalProperties": level, "minProperties": 1},
            ),
        },
    )


def _rule(model: type[BaseModel]) -> Schema:
    coarsen = _keyed(document.Coarsen, (), {"position": _one_of(_typed(document.Position))})
    remark = _typed(document.RemarkDocument)
    more = {
        "fields": _FIELDS,
        "when": _CONDITION,
        "coarsen": {**coarsen, "minProperties": 1},
        "remark": {**remark, "minProperties": 1},
    }
    return _keyed(model, (), more)


def _partner() -> Schema:
    rules: Schema = {"type": "array", "items": {"oneOf": [_rule(document.ReleaseRule), _rule(document.WithholdRule)]}}
    return _keyed(document.PartnerKeys, (), {"rules": rules})


def _invariants() -> Schema:
    codes: Schema = {"type": "array", "items": _typed(texts.NodeCode), "minItems": 1, "uniqueItems": True}
    about: Schema = {"anyOf": [{"const": invariants.ALL}, codes], "description": "all, or the partners' codes."}
    one = _keyed(
        invariants._Written,
        ("name", "reason", "partners"),
        {"partners": about, "never": _CONDITION, "fields": _FIELDS},
    )
    one["anyOf"] = [{"required": [key]} for key in ("never", "fields", "sent_classification_above")]
    return _keyed(invariants._Keys, ("invariants",), {"invariants": {"type": "array", "items": one}})


def _cases() -> Schema:
    texts: Schema = {"type": "array", "items": _FREE}
    report = _keyed(
        cases.ReportDocument,
        (),
        {
            "like": _FREE,
            "set": _settable(),
            "unset": {"type": "array", "items": {"enum": [*LEAVES, *sorted(MESSAGES)]}},
        },
    )
    report["oneOf"] = [{"required": ["kind"]}, {"required": ["like"]}]
    expect = _keyed(
        cases.ExpectDocument,
        ("outcome", "rule"),
        {"rule": _FREE, "fields": _ANY_FIELDS, "absent": _ANY_FIELDS, "values": _expectable(), "error": _FREE},
    )
    one = _keyed(
        cases.CaseDocument,
        ("name", "partner", "expect"),
        {
            "name": _FREE,
            "report": report,
            "report_json": {"type": "object", "description": "A report in protobuf's JSON form."},
            "clock_trusted": _TRUTH,
            "suspended": _TRUTH,
            "had": {"anyOf": [{"const": cases.EVERYTHING}, texts]},
            "expect": expect,
        },
    )
    one["oneOf"] = [{"required": ["report"]}, {"required": ["report_json"]}]
    listed: Schema = {"type": "array", "items": one, "minItems": 1}
    return _keyed(cases.CasesDocument, ("cases",), {"cases": listed})


def schemas() -> dict[str, Schema]:
    """The schema of each kind of file: ``policy``, ``partner``, ``invariants`` and ``cases``."""
    return {
        "policy": _document("Signalfire release policy: policy.yaml", _policy()),
        "partner": _document("Signalfire release policy: partners/<CODE>.yaml", _partner()),
        "invariants": _document("Signalfire release policy: invariants.yaml", _invariants()),
        "cases": _document("Signalfire release policy: cases/<name>.yaml", _cases()),
    }
