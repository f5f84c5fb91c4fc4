"""What must hold between the values of a configuration, after each was read on its own."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from .documents import Keys
from .presets import PRESETS
from .prompt_template import TemplateError, read_template
from .schema import Invalid
from .settings import PLACEHOLDER, PLACEHOLDERS, SHELL, Config, Options, Program, completed
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
    _check_inside(("setup", "copy"), config.setup.copy)
    _check_inside(("setup", "link"), config.setup.link)
    _check_inside(("context",), config.context)
    _check_keep(config.setup.keep)
    if config.prompt is not None:
        try:
            read_template(root, config.prompt)
        except TemplateError as error:
            raise Invalid(("prompt",), str(error)) from None


def _check_inside(keys: Keys, paths: tuple[str, ...]) -> None:
    for index, path in enumerate(paths):
        if path.startswith(("/", "~")) or ".." in PurePosixPath(path).parts or os.path.normpath(path) == ".":
            problem = f"{shown(path)} is not inside the repository; write a path relative to its root"
            raise Invalid((*keys, index), problem)


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
    named += [(("fallback",), config.fallback)]
    named += [(("roles", role, "fallback"), config.roles[role].fallback) for role in config.roles]
    known = config.known_programs()
    for path, used in named:
        if used is not None and used not in known:
            raise Invalid(path, f"unknown program {shown(used)}; {nearest(used, known)}")
        if used == SHELL and path[-1] == "fallback":
            raise Invalid(path, "cannot be `shell`, which does nothing with a prompt; name another program")


def _check_program(name: str, given: Program, path: Keys) -> None:
    if name == SHELL:
        raise Invalid(path, "is built in and cannot be changed; choose another name")
    program = completed(name, given)
    if program.argv is None:
        raise Invalid(path, f"needs `argv:`, the command that runs it; without it, {nearest(name, PRESETS)}")
    for key, argv in (("argv", program.argv), ("resume", program.resume)):
        if argv is not None:
            _check_argv(program, argv, (*path, key))
    _check_options(program, path)
    if program.session == "chosen" and not _uses(program.argv, "session"):
        raise Invalid((*path, "session"), 'is `chosen`, and argv has no "{session}", where it goes')
    if program.resume is not None and (program.session or "none") == "none":
        raise Invalid((*path, "session"), "must be `chosen` or `told` for `resume` to be of use")


def _check_argv(program: Program, argv: tuple[str, ...], path: Keys) -> None:
    if not argv:
        raise Invalid(path, "is empty; write the command that runs the program")
    for index, argument in enumerate(argv):
        for match in PLACEHOLDER.finditer(argument):
            if match[2] and match[2] not in PLACEHOLDERS:
                remedy = nearest(match[2], PLACEHOLDERS, f"`{{{{{match[2]}}}}}` is the text itself")
                raise Invalid((*path, index), f"unknown placeholder {{{match[2]}}}; {remedy}")
            if match[2] == "options" and argument != "{options}":
                raise Invalid((*path, index), '"{options}" stands for several arguments and must be one by itself')
    needed = {"argv": "prompt", "file": "prompt_file"}.get(program.prompt or "")
    if needed and not _uses(argv, needed):
        problem = f'`{program.prompt}` needs "{{{needed}}}" in argv, where the prompt goes; add it or write `stdin`'
        raise Invalid((*path[:-1], "prompt"), problem)


def _check_options(program: Program, path: Keys) -> None:
    """What is given must get somewhere."""
    options = program.options or Options()
    for key in ("model", "turns", "budget"):
        value, words = getattr(program, key), getattr(options, key)
        if value is not None and "{options}" not in (program.argv or ()) and key != "budget":
            raise Invalid((*path, key), 'has no effect beside `argv` without "{options}"; write it into `argv`')
        if value is not None and not words and key != "budget":
            problem = f"has no effect: nobody knows how this program is told; say it in `options: {key}:`"
            raise Invalid((*path, key), problem)
    if program.args and "{options}" not in (program.argv or ()):
        raise Invalid((*path, "args"), 'has no effect beside `argv` without "{options}"; write it into `argv`')


def _uses(argv: tuple[str, ...], name: str) -> bool:
    return any(match[2] == name for argument in argv for match in PLACEHOLDER.finditer(argument))


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
