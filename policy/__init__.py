"""The release policy: what of a nation's reports each partner may have. Works with no gateway.

    bundle = policy.load("policies/jpn")                          # or PolicyError, with every problem in it
    when = policy.Circumstances(now, posture)                      # and what else a decision depends on
    decision = bundle.decide(report, "KOR", when)                  # a value: released, held or withheld, and why
    decision, copy = bundle.carry_out(report, decision, was_released)   # the copy, as coarse as obliged; or None

    asking = bundle.ask(report, when)                              # for several partners: what they share is done once
    decisions = [asking.decide(partner) for partner in ("KOR", "USA")]

Nothing is released unless a rule releases it; a withhold rule beats every release rule; an error in any applicable
rule withholds; of a released report only the named fields go. The language is taught in docs/policy.md.

The modules, each one idea, from the text up:

==============  ================================================================================================
a file's text   ``yaml_source`` (strict YAML), ``document`` (the keys), ``texts`` (what stands under them), with the
                words of ``vocabulary`` and ``countries``; ``document_reader`` and ``written`` (the files, read)
fields          ``fields`` (paths and built-in sets), ``values`` (what stands at a path)
conditions      ``cel``, ``checked`` (the typed tree), ``strict`` (no error is absorbed), ``condition_rules``,
                ``condition_words``, ``parts`` (which part failed), ``areas`` and ``geojson``
obligations     ``obligations``, ``coarsen``, ``grid``, ``uncertainty``
the decision    ``compile`` (files to ``rules``), ``questions`` (which of them apply), ``decide`` (what becomes of a
                report), ``decision`` (that as a value), ``transform``, ``invariants``, and ``bundle``, which puts them
                together and is the only module that does I/O
proofs          the room ``prove``: invariants, and what a new bundle loosens, for every valid report
approval        the room ``approve``: officers' signed orders; ``invariants_kept``
tools           ``cases`` and ``testing``, ``explain``, ``recorded`` (on recorded traffic), ``format``, ``schema``,
                ``specimen`` and ``valid`` (reports that could come)
==============  ================================================================================================

``errors`` holds the error family, ``limits`` the limits. Nothing here imports the gateway.
"""

from __future__ import annotations

from policy.bundle import Bundle, compile_bundle, digest_of, load, read_files
from policy.decide import Asking
from policy.decision import BuiltIn, Circumstances, Decision, Finding, Outcome, Trace
from policy.errors import NotReleasedError, PolicyError, Problem, ReleasePolicyError
from policy.limits import Limits
from policy.transform import WasReleased, refers_to
from policy.vocabulary import Classification, Kind, Posture, TrafficClass

__all__ = [
    "Asking",
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
