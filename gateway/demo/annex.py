"""The exercise annex: an agreement that one nation of a deployment adds to its worked policy, and that lapses.

Under it a launch that exercise control marks TOP SECRET goes to one partner as less than that: without its station, its
place coarsened, marked SECRET. No other rule of the worked policies releases anything marked so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ruamel.yaml import YAML

from gateway.demo.deployment import Deployed
from policy import read_files

AGREEMENT: Final = "exercise-annex"
RULE: Final = "top-secret-drill-goes-sanitised"


def annexed(files: Mapping[str, bytes], node: str, partner: str, starts: datetime, ends: datetime) -> dict[str, bytes]:
    """The bundle of `node` with the annex; whatever annex it had before is replaced. Times are whole seconds, UTC."""
    own, other = "policy.yaml", f"partners/{partner}.yaml"
    policy, rules = _read(files[own]), _read(files[other])
    policy["agreements"][AGREEMENT] = {
        "title": f"Annex for one exercise of {node} and {partner}",
        "basis": "Exchange of letters between the exercise directors; made up for this demo",
        "parties": [node, partner],
        "from": _moment(starts),
        "until": _moment(ends),
        "kinds": ["LaunchDetection"],
    }
    rules["rules"] = [rule for rule in rules["rules"] if rule["name"] != RULE]
    rules["rules"].append(
        {
            "name": RULE,
            "effect": "release",
            "reason": "For this exercise a TOP SECRET drill goes without what makes it so",
            "kinds": ["LaunchDetection"],
            "traffic_classes": ["EXERCISE"],
            "ceiling": "TOP_SECRET",
            "agreement": AGREEMENT,
            "when": 'report.threat.launch_country == "PRK"',
            "fields": ["envelope@1", "threat@1", "launch@1"],
            "coarsen": {"position": {"grid_m": 20000}},
            "remark": {"classification": "SECRET", "add_caveats": ["SANITISED"]},
        }
    )
    return {**files, own: _written(policy), other: _written(rules)}


def write_annex(place: Deployed, partner: str, starts: datetime, ends: datetime) -> dict[str, bytes]:
    """Writes the annexed bundle over the nation's own copy, and returns its files."""
    files = annexed(read_files(place.policy), place.node, partner, starts, ends)
    for path, content in files.items():
        (place.policy / path).write_bytes(content)
    return files


def up_to_second(time: datetime) -> datetime:
    """The first whole second, UTC, that is not before `time`."""
    return datetime.fromtimestamp(math.ceil(time.timestamp()), UTC)


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _read(raw: bytes) -> Any:
    return YAML(typ="rt", pure=True).load(raw.decode("utf-8"))


def _written(document: Any) -> bytes:
    yaml = YAML(typ="rt", pure=True)
    yaml.width = 120
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue().encode("utf-8")
