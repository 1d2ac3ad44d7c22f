"""The packages that the programs in JavaScript use, as package-lock.json pins them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".venv" / "foreign-client"
INSTALL_WITHIN_S = 120


@pytest.fixture(scope="session")
def packages() -> Path:
    """Where the packages of package-lock.json are installed; skips where they can be had in no way."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine")
    locked = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    mark = CACHE / "installed"
    if mark.exists() and mark.read_text("utf-8") == locked:
        return CACHE
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, CACHE)
    # No package needs its install script: what it would do is a notice.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm ci did not end within {INSTALL_WITHIN_S} s, and nothing is cached in {CACHE}")
    if done.returncode:
        offline = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")
        if any(code in done.stderr for code in offline):
            pytest.skip(f"the registry cannot be reached, and nothing is cached in {CACHE}")
        pytest.fail(f"npm ci failed:\n{done.stderr}")
    mark.write_text(locked, "utf-8")
    return CACHE
