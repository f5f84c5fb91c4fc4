"""Programs: how the work of an item is started.

A program is data (configuration/presets.py): what to run, how it is given the prompt, how it tells what it does.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from ..queue.records import Item
from .configuration.config import Config
from .configuration.settings import SHELL, ConfigError


@dataclass(frozen=True)
class Invocation:
    """What to start: the argument list, whether the prompt goes to its standard input, and what it finds set."""

    program: str
    argv: tuple[str, ...]
    prompt_on_stdin: bool
    environ: Mapping[str, str] = field(default_factory=dict)
    dialect: str | None = None  # in which it tells what it does; None for what is not understood
    quiet_seconds: float = math.inf
    stop_seconds: float | None = None
    stop_signal: signal.Signals = signal.SIGTERM


@dataclass(frozen=True)
class Placement:
    """Where and for what a program runs; the values of the placeholders in its argument list."""

    item: Item
    attempt: int
    branch: str
    worktree: Path
    prompt: str
    prompt_file: Path
    result_file: Path
    outbox: Path
    answered: bool = False  # a person said something about the item, which is in the prompt
    session: str = ""  # what the program's session is called, or is to be called
    resumes: bool = False  # whether that is there already
    most_usd: float | None = None  # what it may cost; programs that can are told so


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
    program = config.adapter(name)
    if placement.most_usd is not None:
        program = structs.replace(program, budget=round(placement.most_usd, 4))
    values = {
        "prompt": placement.prompt,
        "prompt_file": str(placement.prompt_file),
        "result_file": str(placement.result_file),
        "outbox": str(placement.outbox),
        "item": item.id,
        "worktree": str(placement.worktree),
        "branch": placement.branch,
        "attempt": str(placement.attempt),
        "session": placement.session,
        "model": program.model or "",
        "turns": str(program.turns or ""),
        "budget": f"{program.budget or 0:g}",
    }
    argv = program.command(values, resume=placement.resumes)
    return Invocation(
        name,
        tuple(argv),
        prompt_on_stdin=program.prompt in {None, "stdin"},
        environ=program.env or {},
        dialect=program.dialect,
        quiet_seconds=program.silent_seconds or math.inf,
        stop_seconds=program.stop_seconds,
        stop_signal=signal.Signals[f"SIG{program.stop_signal or 'TERM'}"],
    )
