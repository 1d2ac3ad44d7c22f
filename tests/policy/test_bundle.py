"""Loading a bundle from a directory, and its digest."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from policy import Limits, PolicyError, Posture, compile_bundle, digest_of, load, read_files
from tests.policy.bundles import POLICY, RULE, WITHHOLD, partner_file

FILES = {"policy.yaml": POLICY.encode(), "partners/KOR.yaml": partner_file(RULE).encode()}


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def test_a_directory_loads_as_its_files_do(tmp_path: Path) -> None:
    bundle = load(write(tmp_path, FILES))
    assert (bundle.node, bundle.posture, set(bundle.partners)) == ("JPN", Posture.ROUTINE, {"KOR"})
    assert bundle.digest == compile_bundle(FILES).digest == digest_of(FILES)


def test_a_bundle_cannot_be_changed_once_it_is_loaded() -> None:
    bundle = compile_bundle(FILES)
    with pytest.raises(FrozenInstanceError):
        bundle.node = "KOR"  # type: ignore[misc]  # that it cannot be set is what is shown
    with pytest.raises(TypeError):
        bundle.partners["USA"] = bundle.partners["KOR"]  # type: ignore[index]  # as above


def test_a_bundle_without_partners_is_a_bundle(tmp_path: Path) -> None:
    assert dict(load(write(tmp_path, {"policy.yaml": POLICY.encode()})).partners) == {}


def test_the_digest_is_over_names_and_contents_each_after_its_length() -> None:
    files = {"b": b"xy", "a": b""}
    parts = [b"signalfire/policy-bundle/v1", b"a", b"", b"b", b"xy"]
    expected = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()
    assert digest_of(files) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {**FILES, "policy.yaml": POLICY.encode() + b"# a comment\n"},
        {**FILES, "partners/KOR.yaml": partner_file(RULE, WITHHOLD).encode()},
        {"policy.yaml": POLICY.encode()},
        {"policy.yaml": FILES["policy.yaml"], "partners/USA.yaml": FILES["partners/KOR.yaml"]},
    ],
)
def test_whatever_is_changed_the_digest_is_another(changed: dict[str, bytes]) -> None:
    assert digest_of(changed) != digest_of(FILES)


def test_names_that_begin_with_a_dot_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    write(tmp_path, {".git/config": b"x", "..data/policy.yaml": b"x", "partners/.KOR.yaml.swp": b"x"})
    assert load(tmp_path).digest == digest_of(FILES)


@pytest.mark.parametrize("name", ["KOR.yaml", "partners/KOR.yml", "policy.yml", "partners/old/KOR.yaml"])
def test_any_other_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PolicyError):
        load(write(tmp_path, {**FILES, name: b"partner: KOR\nrules: []\n"}))


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file or directory"):
        load(tmp_path / "nowhere")


def test_of_a_huge_file_no_more_is_read_than_shows_that_it_is(tmp_path: Path) -> None:
    write(tmp_path, {"policy.yaml": b"#" * 1_000})
    limits = Limits(file_bytes=100)
    assert len(read_files(tmp_path, limits)["policy.yaml"]) == 101
    with pytest.raises(PolicyError, match="more than 100 bytes"):
        load(tmp_path, limits)


def test_a_bundle_that_is_too_large_as_a_whole_is_refused_and_not_compiled(tmp_path: Path) -> None:
    size = sum(len(name) + len(content) for name, content in FILES.items())
    assert compile_bundle(FILES, Limits(bundle_bytes=size)).digest == digest_of(FILES)
    said = f"The bundle has {size:,} bytes; the limit is {size - 1:,}."
    with pytest.raises(PolicyError, match=said):
        compile_bundle(FILES, Limits(bundle_bytes=size - 1))
    with pytest.raises(PolicyError, match=said):
        read_files(write(tmp_path, FILES), Limits(bundle_bytes=size - 1))


def test_a_directory_of_bundles_is_told_as_such(tmp_path: Path) -> None:
    write(tmp_path, {f"jpn/{name}": content for name, content in FILES.items()})
    with pytest.raises(PolicyError, match=r"This is a directory.* give that one"):
        load(tmp_path)
