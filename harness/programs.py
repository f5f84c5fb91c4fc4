"""Programs: how the work of an item is started.

A program is data: what to run and how it is given the prompt. To add one, add a branch to `invocation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..queue.records import Item
from .configuration.config import Config
from .configuration.settings import SHELL, ConfigError


@dataclass(frozen=True)
class Invocation:
    """What to start: the argument list, and whether the prompt goes to its standard input."""

    program: str
    argv: tuple[str, ...]
    prompt_on_stdin: bool


@dataclass(frozen=True)
class Placement:
    """Where and for what a program runs; the values of the placeholders in its argument list."""

    item: Item
    attempt: int
    branch: str
    worktree: Path
    prompt: str
    prompt_file: Path
    answered: bool = False  # a person said something about the item, which is in the prompt


def program_of(item: Item, config: Config) -> str:
    """Return the name of the program that runs `item`."""
    if item.command is not None:
        return SHELL
    role = config.roles.get(item.role) if item.role else None
    return item.program or (role.program if role else None) or config.program


def check_runnable(item: Item, config: Config) -> None:
    """Raise ConfigError when nothing could run `item`."""
    program = program_of(item, config)
    config.check_program(program)
    if program == SHELL and not item.command:
        problem = (
            "the program 'shell' runs commands, and this item has only a prompt; "
            "give --command, or name a program (--program, or `program:` in the configuration)"
        )
        raise ConfigError(config.source, None, "program", problem)


def invocation(placement: Placement, config: Config) -> Invocation:
    """Return how to start the item's program. Raises ConfigError when there is none that could run it."""
    item = placement.item
    check_runnable(item, config)
    name = program_of(item, config)
    if name == SHELL:
        # Without a prompt or an answer nothing is on standard input, not even why an earlier attempt failed: a
        # command such as `python -` would run that.
        return Invocation(
            name, ("/bin/sh", "-c", item.command or ""), prompt_on_stdin=bool(item.prompt) or placement.answered
        )
    program = config.programs[name]
    values = {
        "prompt": placement.prompt,
        "prompt_file": str(placement.prompt_file),
        "item": item.id,
        "worktree": str(placement.worktree),
        "branch": placement.branch,
        "attempt": str(placement.attempt),
    }
    return Invocation(name, tuple(program.command(values)), prompt_on_stdin=program.prompt == "stdin")
