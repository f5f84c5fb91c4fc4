"""The prompt of an attempt: the item, the rules of the place, what became of earlier attempts, files for everybody.

An agent program gets all of that, in the user's own template where there is one. A session that goes on knows it; a
command of the shell, and a program of the user's of which we know no more than its command line, gets the item alone.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..queue.records import Entry
from ..worktrees.git import Git
from ..worktrees.reading import read_file
from .configuration.prompt_template import TemplateError, read_template
from .configuration.settings import SHELL, Config, ConfigError
from .programs import program_of
from .project import Project
from .prompt import answers, compose, earlier, go_on, joined
from .resuming import Resumption

_MOST_CONTEXT_BYTES = 60_000  # of all files: they are not all there is to read, and Linux takes 128 KiB as an argument


@dataclass(frozen=True)
class Place:
    """Where an attempt is made: on `branch`, from the `commit` that its files for everybody are read from."""

    git: Git
    commit: str
    branch: str
    attempt: int
    target: str


def prompt_for(entry: Entry, project: Project, place: Place, resumed: Resumption | None) -> str:
    """Return what the program of an attempt at `entry`'s item is given. Raises ConfigError."""
    config, program = project.config, program_of(entry.item, project.config)
    if resumed is not None:
        return go_on(entry, resumed)
    if program == SHELL or not (config.prompt or config.adapter(program).dialect):
        return compose(entry)
    item, rules = entry.item, _rules(config, program, place)
    values = {
        "prompt": item.prompt,
        "id": item.id,
        "title": item.title,
        "role": item.role or "",
        "branch": place.branch,
        "attempt": str(place.attempt),
        "target": place.target,
        "answers": answers(entry),
        "earlier": earlier(entry),
        "rules": rules,
        "checks": "\n".join(config.checks),
        "context": _context(config, place),
    }
    if config.prompt is None:
        return joined(*(values[name] for name in ("prompt", "answers", "earlier", "rules", "context")))
    try:
        return read_template(project.root, config.prompt).substitute(values)
    except TemplateError as error:
        raise ConfigError(config.source, None, "prompt", str(error)) from None


_RULES = """\
Rules of this place:
- Work in the current directory. It is a git worktree of your own, on the branch {branch}. Change nothing outside of it.
- {commits}
- Do not push, and do not switch, rename or delete branches.
- If you need a person to go on, run `{ask} "QUESTION"` and end; the answer comes with the next prompt.
- Nobody sees what you do meanwhile, and nobody can confirm anything: do not wait for that."""
_COMMITS = "Commit what you have done. What you leave uncommitted is committed for you when you have ended."
_CANNOT_COMMIT = "Do not commit: what you leave in the working tree is committed for you when you have ended."


def _rules(config: Config, program: str, place: Place) -> str:
    commits = _CANNOT_COMMIT if config.adapter(program).commits is False else _COMMITS
    rules = _RULES.format(branch=place.branch, commits=commits, ask=f"{own_command()} ask")
    if config.checks:
        checks = ", ".join(f"`{check}`" for check in config.checks)
        rules += f"\n- When you have ended these are run, and your work is taken only if all of them pass: {checks}"
    return rules


def own_command() -> str:
    """Return what runs parallel-loop, with its folder: some programs run commands in login shells, with a PATH anew."""
    beside = Path(sys.executable).with_name("parallel-loop")
    return shlex.quote(str(beside) if beside.exists() else shutil.which("parallel-loop") or "parallel-loop")


def _context(config: Config, place: Place) -> str:
    """Return the files that everybody is to read, as far as there is room for them; what is lacking is said."""
    left, parts = _MOST_CONTEXT_BYTES, list[str]()
    for path in config.context:
        found = read_file(place.git, place.commit, path, left)
        if found is None:
            parts.append(f"(The file {path}, which you were to be given, is not in the repository.)")
            continue
        left -= len(found.data)
        text = found.data.decode(errors="replace").rstrip()
        if found.size > len(found.data):
            text += f"\n(… and more, {found.size:,} bytes in all: read the rest of {path} yourself.)"
        parts.append(f"The file {path}:\n\n{text}")
    return joined(*parts)
