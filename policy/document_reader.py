"""Reads what stands in a document by its model, and says what does not fit in an officer's words. No I/O.

Of one slip one thing is told: a key that is misspelt is not missing as well, and a list whose only entry was refused is
not empty as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policy.document import AreaDocument, ReleaseRule, WithholdRule
from policy.errors import ConditionError, Problem, did_you_mean, nearest
from policy.texts import MAX_ENTRIES
from policy.vocabulary import Effect
from policy.yaml_source import Mapping, Node, Text, line_of, plain

_M = TypeVar("_M", bound=BaseModel)


@dataclass(slots=True)
class DocumentReader:
    """Reads the documents of one bundle, and gathers what is wrong with them in ``problems``."""

    problems: list[Problem] = field(default_factory=list)

    def report(self, file: str, line: int, what: str, remedy: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(file, line, what, remedy))

    def problems_of(self, file: str) -> list[Problem]:
        """What is wrong with one file, as far as is known by now."""
        return [problem for problem in self.problems if problem.file == file]

    def report_faults(self, file: str, node: Node, key: str, error: ConditionError) -> None:
        """Adds what is wrong with the condition that stands under ``key``, each fault at its own line."""
        place = node.entries.get(key) if isinstance(node, Mapping) else None
        for fault in error.faults:
            line = line_of(node, (key,))
            if isinstance(place, Text):
                line = place.first_line + (max(fault.line, 1) - 1 if place.literal else 0)
            self.report(file, line, f"In the condition: {fault.what}", fault.remedy)

    def model(self, model: type[_M], file: str, node: Node, where: str) -> _M | None:
        """What is written at ``node``, which is called ``where``; None where it is not understood, and then the
        problems are added.
        """
        try:
            return model.model_validate(plain(node))
        except ValidationError as error:
            details = error.errors(include_url=False)
            inner = {detail["loc"][:-1] for detail in details}
            misspelt = {
                (*detail["loc"][:-1], nearest(str(detail["loc"][-1]), keys_of(model)))
                for detail in details
                if detail["type"] == "extra_forbidden"
            }
            for detail in details:
                if detail["type"] == "missing" and detail["loc"] in misspelt:
                    continue  # it stands there under another spelling, which is told
                if detail["type"] == "too_short" and detail["loc"] in inner:
                    continue  # an entry was refused, and so is not counted
                what, remedy = _in_words(detail, model, where)
                self.report(file, line_of(node, detail["loc"]), what, remedy)
            return None


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a model, as they are written."""
    return [info.alias or name for name, info in model.model_fields.items()]


_ADD: Final = {
    "basis": "Add the legal basis, e.g. basis: Exchange of notes of 19 December 2023.",
    "centre": "Add the centre, e.g. centre: [38.0, 127.5] (latitude, longitude in degrees).",
    "radius_m": "Add the radius in metres, e.g. radius_m: 300000.",
    "agreement": "Name one of the agreements of policy.yaml.",
    "ceiling": "Add the highest classification that the rule may release, e.g. ceiling: SECRET.",
    "effect": "Add effect: release or effect: withhold.",
    "fields": "Add the fields and field sets that may go, e.g. fields: [launch@1].",
    "from": "Add the first day on which it is in force, e.g. from: 2023-12-19.",
    "kinds": "Add the kinds of report that the rule is about, e.g. kinds: [LaunchDetection, Track].",
    "name": "Add a name that says what the rule does, e.g. name: prk-launch-warning.",
    "node": "Add this nation's code, e.g. node: JPN.",
    "parties": "Add the nations that it binds, e.g. parties: [JPN, KOR, USA].",
    "partner": "Add the partner's code, e.g. partner: KOR.",
    "posture": "Add the posture that holds until an officer declares another, e.g. posture: ROUTINE.",
    "reason": "Add why, in a sentence: it is shown with every decision of the rule.",
    "rules": "Add rules: and a list of rules; rules: [] releases nothing.",
    "title": "Add the title under which lawyers know it.",
    "traffic_classes": "Add the classes that are meant, e.g. traffic_classes: [LIVE, EXERCISE]; none is assumed.",
    "until": "Add the first day on which it is in force no longer, e.g. until: 2033-12-19.",
}


def _in_words(detail: ErrorDetails, model: type[BaseModel], where: str) -> tuple[str, str]:
    """What pydantic found, in an officer's words: what, and the remedy."""
    context = detail.get("ctx", {})
    key = next((str(step) for step in reversed(detail["loc"]) if isinstance(step, str)), "")
    there = f'"{key}" of {where}' if key else where
    match detail["type"]:
        case "missing" if isinstance(detail["loc"][-1], int):
            return f"A point in {there} has too few numbers.", "Write it as [latitude, longitude]."
        case "missing":
            return f'"{key}" is missing from {where}.', _ADD[key]
        case "extra_forbidden" if model is WithholdRule and key in keys_of(ReleaseRule):
            return f'"{key}" stands in {where}, which withholds.', "Take it out: only a release rule has it."
        case "extra_forbidden":
            return f'"{key}" is not a key of {where}.', did_you_mean(key, keys_of(model))
        case "string_type":
            return f"A list or mapping stands in {there}, where one value is needed.", "Write a single value."
        case "tuple_type" | "list_type":
            return f"A single value stands in {there}, where a list is needed.", "Put it in brackets, e.g. [LIVE]."
        case "dict_type" | "model_type" | "model_attributes_type":
            return f"Something else stands in {there} where keys with values are needed.", "Write key: value lines."
        case "too_long" if model is AreaDocument:
            return f"Something in {there} is too long.", "A point is [latitude, longitude]; an area has 512 at most."
        case "too_short":
            return f"The list in {there} is empty.", "Name at least one, or take the rule out."
        case "too_long":
            return f"The list in {there} is longer than {MAX_ENTRIES} entries.", "Shorten it."
        case "literal_error":
            return f'"{detail["input"]}" is not an effect.', did_you_mean(str(detail["input"]), Effect)
        case _:
            return f"In {there}: {detail['msg']}", str(context.get("remedy", ""))
