"""What a scenario is about, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.demo.detections import is_reported
from gateway.demo.scenario import Launch, Scenario
from gateway.demo.sensors import observe

_SEED_FOR_COVERAGE = 0
"""Who sees a launch hardly depends on chance: only a sensor's phase does."""


def describe(scenario: Scenario) -> str:
    """Title, summary, each launch with who sees it, what is assumed, and the sources. No line break at the end."""
    lines = [scenario.title, "", scenario.summary.strip(), "", "Launches (UTC):"]
    lines += [_launch(scenario, launch) for launch in scenario.launches]
    assumed = [line for launch in scenario.launches for line in _assumed(launch)]
    if assumed:
        lines += ["", "Not in the public record, and assumed here:", *assumed]
    lines += ["", "Sensors are invented. Sources:"]
    lines += [f"  {source.title} <{source.url}>" for source in scenario.sources]
    return "\n".join(lines)


def _launch(scenario: Scenario, launch: Launch) -> str:
    failed = ", failed" if launch.outcome == "failure" else ""
    return (
        f"  {launch.id}  {launch.launched_at:%Y-%m-%d %H:%M:%S}  {launch.missile} ({launch.missile_class}) "
        f"from {launch.site.name}, {launch.range_km:g} km at {launch.bearing_deg:g} degrees, "
        f"apogee {launch.apogee_km:g} km{failed}; seen by {_joined(_watchers(scenario, launch))}"
    )


def _assumed(launch: Launch) -> Iterable[str]:
    if launch.assumed:
        yield f"  {launch.id}: {', '.join(launch.assumed)}"
    if launch.early_estimate and launch.early_estimate.assumed:
        yield f"  {launch.id}, early estimate: {', '.join(launch.early_estimate.assumed)}"


def _watchers(scenario: Scenario, launch: Launch) -> Iterable[str]:
    for nation in scenario.nations:
        if any(is_reported(each) for each in observe(scenario, nation, launch, seed=_SEED_FOR_COVERAGE)):
            yield nation.node


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names) or "nobody"
