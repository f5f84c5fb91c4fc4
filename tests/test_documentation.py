"""The page of commands and configuration names all that there is."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec

from parallel_loop.coordinator import errors
from parallel_loop.coordinator.cli import COMMANDS
from parallel_loop.harness.configuration.settings import Config

PAGE = (Path(__file__).parent.parent / "docs" / "reference.md").read_text()
NAMED = {word for code in re.findall(r"`([^`\n]+)`", PAGE) for word in (code, code.split()[0])}


def keys(kind: type[msgspec.Struct], start: str = "") -> Iterator[str]:
    """Every key of the file, dotted; NAME stands for what its user chooses."""
    for field, hint in typing.get_type_hints(kind).items():
        name = start + next(one.encode_name for one in msgspec.structs.fields(kind) if one.name == field)
        inner = typing.get_args(hint)[-1] if typing.get_origin(hint) is dict else hint
        if isinstance(inner, type) and not isinstance(inner, types.GenericAlias) and issubclass(inner, msgspec.Struct):
            yield from keys(inner, f"{name}.NAME." if inner is not hint else f"{name}.")
        elif field not in {"source", "file_agents"}:  # not of the file
            yield name


def test_every_command_is_on_the_page() -> None:
    assert set(COMMANDS) - NAMED == set()


def test_every_key_is_on_the_page_and_no_other() -> None:
    there = set(keys(Config))
    assert {"limits.worktree", "roles.NAME.wip", "on_coordinator_death", "floors.disk"} < there
    rows = PAGE.partition("| key |")[2].partition("##")[0].splitlines()
    first_cells = "".join(row.split("|")[1] for row in rows if row.startswith("| `"))
    assert set(re.findall(r"`([^`]+)`", first_cells)) == there


def test_every_exit_code_is_on_the_page() -> None:
    codes = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == codes | {0}
