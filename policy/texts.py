"""What one text of a document may stand for: codes, names, sentences, moments, words and numbers; and lists of them.

Every value comes as text (``policy.yaml_source``). What it stands for is said by the type of the key under which it is
written. The texts of refusals are for officers; no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from policy.countries import NODE_CODES
from policy.errors import did_you_mean, did_you_mean_country
from policy.obligations import (
    LEAST_METRES,
    LEAST_SPEED_STEP_MPS,
    LEAST_TIME_STEP_S,
    MOST_METRES,
    MOST_SPEED_STEP_MPS,
    MOST_TIME_STEP_S,
)
from policy.vocabulary import Classification, Kind, Posture, TrafficClass

NAME: Final = "[a-z0-9][a-z0-9-]{0,63}"
IDENTIFIER: Final = "[a-z][a-z0-9_]{0,63}"
MARKING_POLICY: Final = "[A-Z0-9_-]{1,32}"
CAVEAT: Final = "[A-Z0-9 _-]{1,32}"
AREA_FILE: Final = r"areas/[a-z0-9][a-z0-9_-]{0,63}\.geojson"
"""These are regular expressions, each for a text as a whole."""

MAX_ENTRIES: Final = 512
"""Entries of one list: about seven times the fields that the contract has."""

_T = TypeVar("_T")


def _text(pattern: str, meaning: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise PydanticCustomError("text", "{value} is not {meaning}.", {"value": f'"{value}"', "meaning": meaning})
        return value

    return check


def _word(words: Iterable[_T], spelling: Callable[[_T], str]) -> Callable[[object], _T]:
    by_spelling = {spelling(word): word for word in words}

    def check(value: object) -> _T:
        if not isinstance(value, str):
            raise PydanticCustomError("wrong_type", "A word is needed here.")
        if value not in by_spelling:
            remedy = did_you_mean(value, by_spelling)
            raise PydanticCustomError("word", "{value} is not known here.", {"value": f'"{value}"', "remedy": remedy})
        return by_spelling[value]

    return check


def _moment(value: object) -> datetime:
    if isinstance(value, str):
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                return datetime.combine(date.fromisoformat(value), time(), tzinfo=UTC)
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", value):
                return datetime.fromisoformat(value)
        except ValueError:
            pass
    remedy = "Write the day, e.g. 2023-12-19 (from 00:00 UTC), or the moment, e.g. 2023-12-19T09:00:00Z."
    raise PydanticCustomError("text", "{value} is not a day or a moment.", {"value": f'"{value}"', "remedy": remedy})


def each_once(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """The values as they are. Raises PydanticCustomError where one stands twice."""
    twice = {str(value) for value in values if values.count(value) > 1}
    if twice:
        raise PydanticCustomError("twice", "{value} stands twice.", {"value": ", ".join(sorted(twice))})
    return values


def _code(whose: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value not in NODE_CODES:
            raise PydanticCustomError(
                "word",
                "{value} is not {whose} code (ISO 3166-1 alpha-3).",
                {"value": f'"{value}"', "whose": whose, "remedy": did_you_mean_country(value)},
            )
        return value

    return check


NodeCode = Annotated[str, AfterValidator(_code("a node's"))]
CountryCode = Annotated[str, AfterValidator(_code("a country's"))]
Name = Annotated[
    str,
    AfterValidator(_text(NAME, "a name: 1 to 64 characters of a-z, 0-9 and -, no - in front")),
]
Prose = Annotated[str, AfterValidator(_text(r"(?s)(?=.*\S).{1,500}", "a sentence of 1 to 500 characters"))]
Moment = Annotated[datetime, BeforeValidator(_moment)]
KindWord = Annotated[Kind, BeforeValidator(_word(Kind, str))]
TrafficClassWord = Annotated[TrafficClass, BeforeValidator(_word(TrafficClass, lambda word: word.name))]
ClassificationWord = Annotated[Classification, BeforeValidator(_word(Classification, lambda word: word.name))]
PostureWord = Annotated[Posture, BeforeValidator(_word(Posture, str))]
Identifier = Annotated[
    str,
    AfterValidator(_text(IDENTIFIER, "a name for conditions: 1 to 64 characters of a-z, 0-9 and _, a letter in front")),
]
MarkingPolicy = Annotated[
    str, AfterValidator(_text(MARKING_POLICY, "a marking's policy: 1 to 32 characters of A-Z, 0-9, _ and -"))
]
Caveat = Annotated[str, AfterValidator(_text(CAVEAT, "a caveat: 1 to 32 characters of A-Z, 0-9, space, _ and -"))]
AreaFile = Annotated[str, AfterValidator(_text(AREA_FILE, "a file of the bundle: areas/<name>.geojson"))]


def _number(unit: str, least: float, most: float) -> BeforeValidator:
    """A decimal number, as text, within bounds."""

    def check(value: object) -> float:
        if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}(\.\d{1,9})?", value):
            number = float(value)
            if least <= number <= most:
                return number
        raise PydanticCustomError(
            "number",
            "{value} is not a number of {unit} from {least} to {most}.",
            {"value": f'"{value}"', "unit": unit, "least": f"{least:,g}", "most": f"{most:,g}"},
        )

    return BeforeValidator(check)


def _whole(unit: str, least: int, most: int) -> BeforeValidator:
    """A whole number, as text, within bounds."""

    def check(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[1-9]\d{0,8}", value) and least <= int(value) <= most:
            return int(value)
        raise PydanticCustomError(
            "number",
            "{value} is not a whole number of {unit} from {least} to {most}.",
            {"value": f'"{value}"', "unit": unit, "least": f"{least:,}", "most": f"{most:,}"},
        )

    return BeforeValidator(check)


CoarseMetres = Annotated[float, _number("metres", LEAST_METRES, MOST_METRES)]
CoarseSpeed = Annotated[float, _number("m/s", LEAST_SPEED_STEP_MPS, MOST_SPEED_STEP_MPS)]
CoarseSeconds = Annotated[int, _whole("seconds", LEAST_TIME_STEP_S, MOST_TIME_STEP_S)]
HoldSeconds = Annotated[int, _whole("seconds", 1, 31 * 86_400)]
Radius = Annotated[float, _number("metres", 1, 5_000_000)]
Latitude = Annotated[float, _number("degrees north", -90, 90)]
Longitude = Annotated[float, _number("degrees east", -180, 180)]

ListOf = Annotated[tuple[_T, ...], Field(strict=False, min_length=1, max_length=MAX_ENTRIES), AfterValidator(each_once)]
"""One to MAX_ENTRIES of them, each once."""
