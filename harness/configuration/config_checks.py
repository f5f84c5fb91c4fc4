"""What must hold between the values of a configuration, after each was read on its own."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from .documents import Keys
from .schema import Invalid
from .settings import PLACEHOLDER, PLACEHOLDERS, PROGRAM_PRESETS, SHELL, Config, Program
from .wording import nearest, shown

# What git refuses in a branch name, and what an option or a full reference would look like.
_NO_BRANCH = re.compile(r"[\s\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)|^@$|^refs/")

_REMOTE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]*[A-Za-z0-9_-])?(?<!\.lock)")


def check(config: Config, root: Path) -> None:
    """Raise Invalid for the first thing that cannot work together; `root` is the repository."""
    _check_programs(config)
    _check_times(config)
    _check_target(config.target)
    if config.remote is not None and not _REMOTE.fullmatch(config.remote):
        problem = (
            f"{shown(config.remote)} is not the name of a remote; write one that `git remote` lists, such as origin"
        )
        raise Invalid(("remote",), problem)
    _check_worktrees(config.worktrees, root)
    for key, paths in (("copy", config.setup.copy), ("link", config.setup.link)):
        for index, path in enumerate(paths):
            if path.startswith(("/", "~")) or ".." in PurePosixPath(path).parts or os.path.normpath(path) == ".":
                problem = f"{shown(path)} is not inside the repository; write a path relative to its root"
                raise Invalid(("setup", key, index), problem)
    _check_keep(config.setup.keep)


def _check_keep(patterns: tuple[str, ...]) -> None:
    """What is kept is named by its last part alone, so that nothing else of a path can be meant by it."""
    for index, pattern in enumerate(patterns):
        name = pattern.removesuffix("/")
        if "/" in name or name in {"", ".", "..", ".git"} or name[0] in "!#" or "\\" in name or "\0" in name:
            problem = (
                f"{shown(pattern)} is not the name of a file or folder, nor a pattern for names; write one such as"
            )
            raise Invalid(("setup", "keep", index), f"{problem} node_modules or *.egg-info")
        if not re.search(r"[^*?\s]", name) or "\n" in name:
            raise Invalid(("setup", "keep", index), f"{shown(pattern)} would keep whatever is left; name the caches")


def _check_programs(config: Config) -> None:
    for name, program in config.programs.items():
        _check_program(name, program, ("programs", name))
    named: list[tuple[Keys, str | None]] = [(("program",), config.program)]
    named += [(("roles", role, "program"), config.roles[role].program) for role in config.roles]
    known = config.known_programs()
    for path, used in named:
        if used is not None and used not in known:
            raise Invalid(path, f"unknown program {shown(used)}; {nearest(used, known)}")


def _check_program(name: str, program: Program, path: Keys) -> None:
    if name == SHELL:
        raise Invalid(path, "is built in and cannot be changed; choose another name")
    if program.argv is None:
        if name not in PROGRAM_PRESETS:
            problem = f"needs `argv:`, the command that runs it; without it, {nearest(name, PROGRAM_PRESETS)}"
            raise Invalid(path, problem)
        return
    if not program.argv:
        raise Invalid((*path, "argv"), "is empty; write the command that runs the program")
    if program.model is not None or program.args:
        key = "model" if program.model is not None else "args"
        raise Invalid((*path, key), "has no effect beside `argv`; write it into `argv`")
    used = set()
    for index, argument in enumerate(program.argv):
        for match in PLACEHOLDER.finditer(argument):
            if match[2] and match[2] not in PLACEHOLDERS:
                problem = f"unknown placeholder {{{match[2]}}}; {nearest(match[2], PLACEHOLDERS)}"
                raise Invalid((*path, "argv", index), f"{problem} `{{{{{match[2]}}}}}` is the text itself")
            used.add(match[2])
    needed = {"argv": "prompt", "file": "prompt_file"}.get(program.prompt)
    if needed and needed not in used:
        problem = f'`{program.prompt}` needs "{{{needed}}}" in argv, where the prompt goes; add it or write `stdin`'
        raise Invalid((*path, "prompt"), problem)


def _check_times(config: Config) -> None:
    if config.retry.max_seconds < config.retry.first_seconds:
        raise Invalid(("retry", "max"), "is shorter than `retry.first`; make it at least as long")
    if config.health.silent_seconds <= config.health.heartbeat_seconds:
        raise Invalid(("health", "silent"), "must be longer than `health.heartbeat`, or every worker counts as hung")


def _check_target(target: str | None) -> None:
    if target is None:
        return
    if target == "HEAD" or _NO_BRANCH.search(target):
        raise Invalid(("target",), f"{shown(target)} is not the name of a branch; write for example main")
    if target.startswith("parallel-loop/"):
        raise Invalid(("target",), f"{shown(target)} belongs to parallel-loop itself; name a branch of your own")


def _check_worktrees(worktrees: str, root: Path) -> None:
    if worktrees.startswith("~"):
        raise Invalid(("worktrees",), "`~` is not expanded; write the whole path")
    # Compared as written: resolving symbolic links can fail and would not make the repository's root any safer.
    top = os.path.normpath(root.absolute())
    place = os.path.normpath(Path(top, worktrees))
    if place == top or Path(place).is_relative_to(Path(top, ".git")):
        problem = (
            "is the repository itself or inside `.git`; name a folder of its own, such as .parallel-loop/worktrees"
        )
        raise Invalid(("worktrees",), problem)
