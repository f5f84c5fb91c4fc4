"""What can be configured: every key of `parallel-loop.yaml`, its type, its default and how it is read.

Fields carry their units (`timeout_seconds`), the keys in the file do not (`timeout`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Struct, field, structs

from . import schema as read
from .presets import PRESETS
from .wording import nearest, one_line, shown

SHELL = "shell"
MAX_AGENTS = 128
DIALECTS = ("text", "claude", "codex", "gemini", "opencode", "trajectory", "cursor")
PLACEHOLDERS = (
    *("prompt_file", "prompt", "item", "worktree", "branch", "attempt"),
    *("session", "model", "turns", "budget", "result_file", "outbox", "options"),
)
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


class Options(Struct, frozen=True):
    """What is put in place of "{options}" where the option has a value."""

    model: Annotated[tuple[str, ...], read.texts('[--model, "{model}"]')] = ()
    turns: Annotated[tuple[str, ...], read.texts('[--max-turns, "{turns}"]')] = ()
    budget: Annotated[tuple[str, ...], read.texts('[--max-budget-usd, "{budget}"]')] = ()


class Program(Struct, frozen=True):
    """How an agent program is driven. A key that is not given is that of the preset of this name, or its default.

    `session`: who names it, we (`chosen`), the program (`told`), or nobody. `resume_in`: whether it goes on from
    another directory, too. `commits`: whether the program can commit by itself. `prepare`: commands that are run once
    before it, by one agent after the other. `ignore`: patterns for what it leaves in its worktree for itself, and is no
    work. `account`: who pays; programs with the same one meet the same limits.
    """

    argv: Annotated[tuple[str, ...] | None, read.texts('[my-agent, --file, "{prompt_file}"]')] = None
    resume: Annotated[tuple[str, ...] | None, read.texts('[my-agent, --resume, "{session}"]')] = None
    prompt: Annotated[Literal["stdin", "argv", "file"] | None, read.choice("stdin", "argv", "file")] = None
    dialect: Annotated[str | None, read.choice(*DIALECTS)] = None
    session: Annotated[Literal["chosen", "told", "none"] | None, read.choice("chosen", "told", "none")] = None
    resume_in: Annotated[Literal["same", "any"] | None, read.choice("same", "any")] = None
    model: Annotated[str | None, read.text] = None
    turns: Annotated[int | None, read.whole(1, 100_000)] = None
    budget: Annotated[float | None, read.number(0.01, 1_000_000)] = None
    options: Annotated[Options | None, read.section(Options)] = None
    args: Annotated[tuple[str, ...], read.texts("[--verbose]")] = ()
    env: Annotated[dict[str, str] | None, read.variables] = None
    silent_seconds: Annotated[float | None, read.duration] = field(default=None, name="silent")
    stop_seconds: Annotated[float | None, read.duration_or_zero] = field(default=None, name="stop")
    stop_signal: Annotated[Literal["TERM", "INT"] | None, read.choice("TERM", "INT")] = None
    commits: Annotated[bool | None, read.flag] = None
    prepare: Annotated[tuple[str, ...] | None, read.texts("[my-agent --version]")] = None
    ignore: Annotated[tuple[str, ...] | None, read.texts("[.my-agent*]")] = None
    account: Annotated[str | None, read.text] = None
    tried: Annotated[tuple[str, ...] | None, read.texts("[1.2.3]")] = None

    def command(self, values: Mapping[str, str], *, resume: bool = False) -> list[str]:
        """Return `argv`, or what is to `resume` a session, with each placeholder replaced.

        `values` has one for every name in PLACEHOLDERS. One pass: a prompt that holds `{item}` stays as it was written.
        """

        def fill(match: re.Match[str]) -> str:
            return f"{{{match[1]}}}" if match[1] else values[match[2]]

        found = list[str]()
        for argument in (self.resume if resume else self.argv) or ():
            found += self._given_options() if argument == "{options}" else [argument]
        return [PLACEHOLDER.sub(fill, argument) for argument in found]

    def _given_options(self) -> list[str]:
        options = self.options or Options()
        given = ((self.model, options.model), (self.turns, options.turns), (self.budget, options.budget))
        return [*(word for value, words in given if value is not None for word in words), *self.args]


class Role(Struct, frozen=True):
    """A kind of work; None means what the rest of the configuration says."""

    wip: Annotated[int | None, read.whole(1, 1000)] = None
    program: Annotated[str | None, read.text] = None
    timeout_seconds: Annotated[float | None, read.duration] = field(default=None, name="timeout")
    memory_bytes: Annotated[int | None, read.size] = field(default=None, name="memory")
    cpu_cores: Annotated[float | None, read.cores] = field(default=None, name="cpu")
    processes: Annotated[int | None, read.whole(1, 1_000_000)] = None
    worktree_bytes: Annotated[int | None, read.size] = field(default=None, name="worktree")
    fallback: Annotated[str | None, read.text] = None


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


class Budget(Struct, frozen=True):
    """What an attempt, an item and a run may cost in US dollars, of programs that say so; None: no matter what."""

    attempt_usd: Annotated[float | None, read.number(0.01, 1_000_000)] = field(default=None, name="attempt")
    item_usd: Annotated[float | None, read.number(0.01, 1_000_000)] = field(default=None, name="item")
    run_usd: Annotated[float | None, read.number(0.01, 1_000_000)] = field(default=None, name="run")


class Salvage(Struct, frozen=True):
    """For how long saved work is kept; None: for ever."""

    keep_seconds: Annotated[float | None, read.duration] = field(default=None, name="keep")


class AfterLimit(Struct, frozen=True):
    """How work goes on after an account's limit: by itself or not, how long after, and in which minutes of the day."""

    auto: Annotated[bool, read.flag] = True
    slack_seconds: Annotated[float, read.duration_or_zero] = field(default=60.0, name="slack")
    jitter_seconds: Annotated[float, read.duration_or_zero] = field(default=30.0, name="jitter")
    window: Annotated[tuple[int, int] | None, read.times_of_day] = None


class Config(Struct, frozen=True):
    """The whole configuration; a default for every key."""

    parallel_mode: Annotated[bool, read.flag] = True
    agents: Annotated[int, read.whole(1, MAX_AGENTS)] = 3
    program: Annotated[str, read.text] = SHELL
    fallback: Annotated[str | None, read.text] = None
    target: Annotated[str | None, read.text] = None
    remote: Annotated[str | None, read.text] = None
    land: Annotated[Literal["auto", "review", "never"], read.choice("auto", "review", "never")] = "auto"
    land_as: Annotated[Literal["merge", "squash", "rebase"], read.choice("merge", "squash", "rebase")] = "merge"
    checks: Annotated[tuple[str, ...], read.texts("[make test]")] = ()
    check_timeout_seconds: Annotated[float, read.duration] = field(default=1800.0, name="check_timeout")
    setup: Annotated[Setup, read.section(Setup)] = Setup()
    prompt: Annotated[str | None, read.text] = None
    context: Annotated[tuple[str, ...], read.texts("[AGENTS.md]")] = ()
    programs: Annotated[dict[str, Program], read.named(Program)] = field(default_factory=dict)
    roles: Annotated[dict[str, Role], read.named(Role)] = field(default_factory=dict)
    retry: Annotated[Retry, read.section(Retry)] = Retry()
    limits: Annotated[Limits, read.section(Limits)] = Limits()
    health: Annotated[Health, read.section(Health)] = Health()
    after_limit: Annotated[AfterLimit, read.section(AfterLimit)] = AfterLimit()
    floors: Annotated[Floors, read.section(Floors)] = Floors()
    budget: Annotated[Budget, read.section(Budget)] = Budget()
    salvage: Annotated[Salvage, read.section(Salvage)] = Salvage()
    worktrees: Annotated[str, read.text] = ".parallel-loop/worktrees"
    on_coordinator_death: Annotated[Literal["finish", "stop"], read.choice("finish", "stop")] = "finish"
    source: str = "parallel-loop.yaml"  # where it was read from, for messages
    file_agents: int = 3  # `agents` as the file has it, whatever PARALLEL_AGENTS says

    def known_programs(self) -> list[str]:
        """Return every name that an item, a role or `program` may use."""
        return list(dict.fromkeys((SHELL, *self.programs, *PRESETS)))

    def adapter(self, name: str) -> Program:
        """Return how the program `name` is driven, which is not the shell: as configured, else as in PRESETS."""
        return completed(name, self.programs.get(name, Program()))

    def check_program(self, name: str) -> None:
        """Raise ConfigError when there is no program `name`."""
        known = self.known_programs()
        if name not in known:
            raise ConfigError(self.source, None, "", f"unknown program {shown(name)}; {nearest(name, known)}")


def completed(name: str, given: Program) -> Program:
    """Return `given` with what it leaves out: from the preset of that name, unless it has a command line of its own."""
    if given.argv is not None:
        return given
    preset = _preset(name)
    keys = (key for key in given.__struct_fields__ if getattr(given, key) not in {None, ()})
    own = {key: getattr(given, key) for key in keys}
    if given.env is not None:
        own["env"] = {**(preset.env or {}), **given.env}
    return structs.replace(preset, **own)


@functools.cache
def _preset(name: str) -> Program:
    return read.read_struct(Program, PRESETS.get(name, {}))
