"""The solver behind one face: questions with a time limit and a seed, and z3 terms that fold as they are built.

z3 keeps its terms in one context of the process that two threads must not use at once: whoever proves holds ``LOCK``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from enum import Enum, auto
from threading import RLock
from typing import Final

import z3

from policy.prove.verdict import ProofSettings

LOCK: Final = RLock()

TRUE: Final = z3.BoolVal(True)
FALSE: Final = z3.BoolVal(False)
DOUBLE: Final = z3.Float64()
ROUND: Final = z3.RNE()

_ESCAPE: Final = re.compile(r"\\u\{([0-9a-fA-F]+)\}")

LAST_CHARACTER: Final = 0x2FFFF
"""The last code point of z3's strings (its character theory has 18 bits, and stops here)."""


class Answer(Enum):
    """Whether there is a model."""

    NONE = auto()
    SOME = auto()
    UNKNOWN = auto()


class Question:
    """A set of constraints, and whether they have a model."""

    def __init__(self, settings: ProofSettings) -> None:
        self._settings = settings
        self._solver = z3.Solver()
        self._solver.set("random_seed", settings.seed)

    def add(self, *constraints: z3.BoolRef) -> None:
        """Adds constraints."""
        self._solver.add(*constraints)

    def ask(self, *assumptions: z3.BoolRef, timeout_ms: int | None = None) -> Answer:
        """Asks within the time limit, under further assumptions."""
        left_ms = self._settings.left_ms()
        if not left_ms:
            return Answer.UNKNOWN
        self._solver.set("timeout", min(timeout_ms or left_ms, left_ms))
        result = self._solver.check(*assumptions)
        if result == z3.unsat:
            return Answer.NONE
        return Answer.SOME if result == z3.sat else Answer.UNKNOWN

    def model(self) -> Model:
        """The model that was found last."""
        return Model(self._solver.model())


class Model:
    """Values that satisfy the constraints of a question. What they do not mention has any value."""

    def __init__(self, model: z3.ModelRef) -> None:
        self._model = model

    def boolean(self, term: z3.BoolRef) -> bool:
        """Value of a truth."""
        return z3.is_true(self._model.eval(term, model_completion=True))

    def whole(self, term: z3.ArithRef) -> int:
        """Value of a whole number."""
        value = self._model.eval(term, model_completion=True)
        if not isinstance(value, z3.IntNumRef):
            raise TypeError(f"the solver gave {value} for a whole number")
        return value.as_long()

    def double(self, term: z3.FPRef) -> float:
        """Value of a double, exact."""
        bits = z3.simplify(z3.fpToIEEEBV(self._model.eval(term, model_completion=True)))
        if not isinstance(bits, z3.BitVecNumRef):
            raise TypeError(f"the solver gave {bits} for a double")
        value: float = struct.unpack(">d", bits.as_long().to_bytes(8, "big"))[0]
        return value

    def text(self, term: z3.SeqRef) -> str:
        """Value of a text."""
        written = self._model.eval(term, model_completion=True).py_value()
        # z3 gives some characters back as escapes, among them a backslash that could be read as one.
        return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), written)


def text(value: str) -> z3.SeqRef:
    """A literal text. Raises ValueError where it has a character that z3 has not."""
    if any(ord(character) > LAST_CHARACTER for character in value):
        raise ValueError("a character beyond U+2FFFF")
    # z3 reads \\u{...} as an escape; a backslash is itself written as one.
    return z3.StringVal(value.replace("\\", "\\u{5c}"))


def double(value: float) -> z3.FPRef:
    """A literal double, bit for bit."""
    bits = int.from_bytes(struct.pack(">d", value), "big")
    return z3.simplify(z3.fpBVToFP(z3.BitVecVal(bits, 64), DOUBLE))


def every(terms: Iterable[z3.BoolRef]) -> z3.BoolRef:
    """Conjunction; what is plainly true falls away."""
    kept = [term for term in terms if not z3.is_true(term)]
    if any(z3.is_false(term) for term in kept):
        return FALSE
    return z3.And(*kept) if len(kept) > 1 else kept[0] if kept else TRUE


def some(terms: Iterable[z3.BoolRef]) -> z3.BoolRef:
    """Disjunction; what is plainly false falls away."""
    kept = [term for term in terms if not z3.is_false(term)]
    if any(z3.is_true(term) for term in kept):
        return TRUE
    return z3.Or(*kept) if len(kept) > 1 else kept[0] if kept else FALSE


def no(term: z3.BoolRef) -> z3.BoolRef:
    """Negation."""
    if z3.is_true(term):
        return FALSE
    return TRUE if z3.is_false(term) else z3.Not(term)
