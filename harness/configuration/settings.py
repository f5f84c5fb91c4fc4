"""What can be configured: every key of `parallel-loop.yaml`, its type, its default and how it is read.

Fields carry their units (`timeout_seconds`), the keys in the file do not (`timeout`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Struct, field

from . import schema as read
from .wording import nearest, one_line, shown

SHELL = "shell"
PROGRAM_PRESETS = ("claude", "codex", "gemini", "opencode", "aider", "mini")
MAX_AGENTS = 128
PLACEHOLDERS = ("prompt_file", "prompt", "item", "worktree", "branch", "attempt")
# Only a lower-case word between braces is one, so that `${HOME}`, `{}` and JSON pass through; `{{item}}` is `{item}`.
PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")


class ConfigError(Exception):
    """The configuration cannot be used. `source` is a file or an environment variable, `key` the dotted path in it."""

    def __init__(self, source: str, line: int | None, key: str, problem: str) -> None:
        super().__init__(source, line, key, problem)
        self.source, self.line, self.key, self.problem = source, line, key, problem

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return one_line(": ".join(part for part in (place, self.key, self.problem) if part))


class Setup(Struct, frozen=True):
    """What a fresh worktree needs: paths copied or linked from the repository, then commands run in the worktree.

    `keep` names what survives from one item to the next: caches.
    """

    copy: Annotated[tuple[str, ...], read.texts("[.env]")] = ()
    link: Annotated[tuple[str, ...], read.texts("[node_modules]")] = ()
    run: Annotated[tuple[str, ...], read.texts("[npm ci]")] = ()
    keep: Annotated[tuple[str, ...], read.texts("[__pycache__]")] = ()


class Program(Struct, frozen=True):
    """How to start an agent program; without `argv` it is one of PROGRAM_PRESETS."""

    argv: Annotated[tuple[str, ...] | None, read.texts('[my-agent, --file, "{prompt_file}"]')] = None
    prompt: Annotated[Literal["stdin", "argv", "file"], read.choice("stdin", "argv", "file")] = "stdin"
    model: Annotated[str | None, read.text] = None
    args: Annotated[tuple[str, ...], read.texts("[--verbose]")] = ()

    def command(self, values: Mapping[str, str]) -> list[str]:
        """Return `argv` with each placeholder replaced; `values` has one for every name in PLACEHOLDERS.

        One pass: a prompt that holds `{item}` stays as it was written.
        """

        def fill(match: re.Match[str]) -> str:
            return f"{{{match[1]}}}" if match[1] else values[match[2]]

        return [PLACEHOLDER.sub(fill, argument) for argument in self.argv or ()]


class Role(Struct, frozen=True):
    """A kind of work; None means what the rest of the configuration says."""

    wip: Annotated[int | None, read.whole(1, 1000)] = None
    program: Annotated[str | None, read.text] = None
    timeout_seconds: Annotated[float | None, read.duration] = field(default=None, name="timeout")
    memory_bytes: Annotated[int | None, read.size] = field(default=None, name="memory")
    cpu_cores: Annotated[float | None, read.cores] = field(default=None, name="cpu")
    processes: Annotated[int | None, read.whole(1, 1_000_000)] = None
    worktree_bytes: Annotated[int | None, read.size] = field(default=None, name="worktree")


class Retry(Struct, frozen=True):
    """Attempts in all, and the wait before the next: `first`, then `factor` times as long each time, at most `max`."""

    attempts: Annotated[int, read.whole(1, 1000)] = 3
    first_seconds: Annotated[float, read.duration_or_zero] = field(default=10.0, name="first")
    factor: Annotated[float, read.number(1, 100)] = 2.0
    max_seconds: Annotated[float, read.duration_or_zero] = field(default=300.0, name="max")


class Limits(Struct, frozen=True):
    """What one attempt may use."""

    time_seconds: Annotated[float, read.duration] = field(default=3600.0, name="time")
    memory_bytes: Annotated[int, read.size] = field(default=4_000_000_000, name="memory")
    cpu_cores: Annotated[float | None, read.cores] = field(default=None, name="cpu")  # None: all there are
    processes: Annotated[int, read.whole(1, 1_000_000)] = 500
    worktree_bytes: Annotated[int, read.size] = field(default=20_000_000_000, name="worktree")


class Health(Struct, frozen=True):
    """When a worker counts as hung, and how many deaths in a row an agent's place survives."""

    heartbeat_seconds: Annotated[float, read.duration] = field(default=5.0, name="heartbeat")
    silent_seconds: Annotated[float, read.duration] = field(default=120.0, name="silent")
    no_progress_seconds: Annotated[float, read.duration] = field(default=1200.0, name="no_progress")
    restarts: Annotated[int, read.whole(1, 1000)] = 5


class Floors(Struct, frozen=True):
    """How much memory and disk must be free before a new attempt starts; 0 for no matter how much."""

    memory_bytes: Annotated[int, read.size_or_zero] = field(default=256_000_000, name="memory")
    disk_bytes: Annotated[int, read.size_or_zero] = field(default=500_000_000, name="disk")


class Salvage(Struct, frozen=True):
    """For how long saved work is kept; None: for ever."""

    keep_seconds: Annotated[float | None, read.duration] = field(default=None, name="keep")


class Config(Struct, frozen=True):
    """The whole configuration; a default for every key."""

    parallel_mode: Annotated[bool, read.flag] = True
    agents: Annotated[int, read.whole(1, MAX_AGENTS)] = 3
    program: Annotated[str, read.text] = SHELL
    target: Annotated[str | None, read.text] = None
    remote: Annotated[str | None, read.text] = None
    land: Annotated[Literal["auto", "review", "never"], read.choice("auto", "review", "never")] = "auto"
    land_as: Annotated[Literal["merge", "squash", "rebase"], read.choice("merge", "squash", "rebase")] = "merge"
    checks: Annotated[tuple[str, ...], read.texts("[make test]")] = ()
    check_timeout_seconds: Annotated[float, read.duration] = field(default=1800.0, name="check_timeout")
    setup: Annotated[Setup, read.section(Setup)] = Setup()
    programs: Annotated[dict[str, Program], read.named(Program)] = field(default_factory=dict)
    roles: Annotated[dict[str, Role], read.named(Role)] = field(default_factory=dict)
    retry: Annotated[Retry, read.section(Retry)] = Retry()
    limits: Annotated[Limits, read.section(Limits)] = Limits()
    health: Annotated[Health, read.section(Health)] = Health()
    floors: Annotated[Floors, read.section(Floors)] = Floors()
    salvage: Annotated[Salvage, read.section(Salvage)] = Salvage()
    worktrees: Annotated[str, read.text] = ".parallel-loop/worktrees"
    on_coordinator_death: Annotated[Literal["finish", "stop"], read.choice("finish", "stop")] = "finish"
    source: str = "parallel-loop.yaml"  # where it was read from, for messages
    file_agents: int = 3  # `agents` as the file has it, whatever PARALLEL_AGENTS says

    def known_programs(self) -> list[str]:
        """Return every name that an item, a role or `program` may use."""
        return list(dict.fromkeys((SHELL, *self.programs, *PROGRAM_PRESETS)))

    def check_program(self, name: str) -> None:
        """Raise ConfigError unless this version can run the program `name`."""
        known = self.known_programs()
        if name not in known:
            raise ConfigError(self.source, None, "", f"unknown program {shown(name)}; {nearest(name, known)}")
        if name != SHELL and (name not in self.programs or self.programs[name].argv is None):
            problem = "not driven yet in this version; give `argv:`, the command that runs it without a terminal"
            raise ConfigError(self.source, None, f"programs.{name}", problem)
