"""Bundles and their cases as commands read them: what is wrong is told line by line, then the command ends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

import policy as language
from policy.cases import Case, read_cases
from policy.errors import PolicyError, Problem

DIRECTORY: Final = click.Path(exists=True, file_okay=False, path_type=Path)
"""The directory of a bundle, as an argument."""


def load(directory: Path) -> language.Bundle:
    """The bundle in a directory. Raises ClickException."""
    try:
        return language.load(directory)
    except PolicyError as error:
        raise refused(directory, error.problems) from error


def cases_of(directory: Path, bundle: language.Bundle) -> tuple[Case, ...]:
    """The cases of a bundle. Raises ClickException."""
    try:
        return read_cases(bundle)
    except PolicyError as error:
        raise refused(directory, error.problems) from error


def refused(directory: Path, problems: Iterable[Problem]) -> click.ClickException:
    """Tells problems on standard error, each with its file and line, and gives the error that ends the command."""
    told = sorted(problems)
    for problem in told:
        click.echo(str(problem) if problem.file == str(directory) else f"{directory}/{problem}", err=True)
    return click.ClickException(f"{directory}: {len(told)} {'problem' if len(told) == 1 else 'problems'}")
