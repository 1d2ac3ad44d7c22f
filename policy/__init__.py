"""The release policy: what of a nation's reports each partner may have. Works with no gateway.

    bundle = policy.load("policies/jpn")                          # or PolicyError, with every problem in it
    when = policy.Circumstances(now, posture)                      # and what else a decision depends on
    decision = bundle.decide(report, "KOR", when)                  # a value: released, held or withheld, and why
    decision = bundle.narrow(report, decision, was_released)       # a recall of what the partner never had is withheld
    copy = bundle.transform(report, decision, was_released)        # only the named fields, as coarse as obliged

Nothing is released unless a rule releases it; a withhold rule beats every release rule; an error in any applicable
rule withholds; of a released report only the named fields go. The language is taught in docs/policy.md.

The modules, each one idea: ``yaml_source`` (strict YAML), ``document`` (the keys), ``vocabulary`` (the words),
``fields`` (paths and built-in sets), ``cel``, ``checked``, ``strict``, ``condition_rules`` and ``condition_words``
(conditions), ``compile`` (files to rules), ``decide``, ``transform``, and ``bundle``, the only one that does I/O.
``errors`` holds the error family, ``limits`` the limits. Nothing here imports the gateway.
"""

from __future__ import annotations

from policy.bundle import Bundle, compile_bundle, digest_of, load, read_files
from policy.decide import BuiltIn, Circumstances, Decision, Finding, Outcome, Trace
from policy.errors import NotReleasedError, PolicyError, Problem, ReleasePolicyError
from policy.limits import Limits
from policy.transform import WasReleased, refers_to
from policy.vocabulary import Classification, Kind, Posture, TrafficClass

__all__ = [
    "BuiltIn",
    "Bundle",
    "Circumstances",
    "Classification",
    "Decision",
    "Finding",
    "Kind",
    "Limits",
    "NotReleasedError",
    "Outcome",
    "PolicyError",
    "Posture",
    "Problem",
    "ReleasePolicyError",
    "Trace",
    "TrafficClass",
    "WasReleased",
    "compile_bundle",
    "digest_of",
    "load",
    "read_files",
    "refers_to",
]
