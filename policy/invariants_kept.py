"""Whether a bundle keeps the invariants of the one before it. No I/O.

An invariant is *kept* where the new bundle has one that forbids at least the same, as far as can be seen without a
proof; its name does not matter. Forbidding at least the same is, in order:

1. the same partners, kinds, traffic classes and postures, or more;
2. no condition ``never``, or the same text, in which every country list and area that it names means what it did;
3. no ``fields``, or the same, or more;
4. no ``sent_classification_above``, or the same level or a lower one, under equivalences that did not change.

What cannot be seen to be kept counts as removed: that costs a signature, and never lets one slip.
"""

from __future__ import annotations

import re

from policy.bundle import Bundle
from policy.invariants import Invariant

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def removed_or_weakened(old: Bundle, new: Bundle) -> list[str]:
    """Names of the invariants of ``old`` that ``new`` is not seen to keep."""
    return [each.name for each in old.invariants if not any(_covers(n, each, new, old) for n in new.invariants)]


def _covers(new: Invariant, old: Invariant, new_bundle: Bundle, old_bundle: Bundle) -> bool:
    return (
        (new.partners is None or (old.partners is not None and new.partners >= old.partners))
        and set(new.kinds) >= set(old.kinds)
        and set(new.traffic_classes) >= set(old.traffic_classes)
        and new.postures >= old.postures
        and _same_condition(new, old, new_bundle, old_bundle)
        and (not new.fields or (bool(old.fields) and set(new.fields) >= set(old.fields)))
        and _same_level(new, old, new_bundle, old_bundle)
    )


def _same_condition(new: Invariant, old: Invariant, new_bundle: Bundle, old_bundle: Bundle) -> bool:
    if new.condition is None:
        return True
    if old.condition is None or old.condition.text != new.condition.text:
        return False
    # Every word that is the name of a list or an area: more than those that are used as one, which errs on the safe
    # side.
    named = set(_WORD.findall(old.condition.text))
    before, after = old_bundle.vocabulary, new_bundle.vocabulary
    return all(
        before.countries.get(name) == after.countries.get(name) and before.areas.get(name) == after.areas.get(name)
        for name in named
    )


def _same_level(new: Invariant, old: Invariant, new_bundle: Bundle, old_bundle: Bundle) -> bool:
    if new.sent_classification_above is None:
        return True
    return (
        old.sent_classification_above is not None
        and new.sent_classification_above <= old.sent_classification_above
        and new_bundle.equivalences == old_bundle.equivalences
    )
