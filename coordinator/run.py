"""`parallel-loop run`: look whether it can be done, say what will happen, then run."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..harness.configuration.settings import ConfigError
from ..harness.logs import bound_log
from ..harness.project import Project
from ..queue import probe
from ..worktrees.git import require_git
from ..worktrees.landing import LANDING_BRANCH
from ..worktrees.repository import Repository
from .coordinator import Coordinator, Display
from .drawing.lines import EventTail, describe_event
from .machine import Machine
from .notify import Notifier
from .remote_start import fetch_first, require_remote
from .snapshot import Snapshot

_OURS = LANDING_BRANCH.partition("/")[0]


class Lines:
    """Shows one line for each change, for a terminal log or a file.

    `log` is where those of a coordinator in the background go; it is kept from growing for ever.
    """

    shows_time = False

    def __init__(self, events: Path, out: TextIO, log: Path | None = None) -> None:
        self._tail = EventTail(events, from_end=True)
        self._out = out
        self._log = log

    def show(self, picture: Snapshot | None = None) -> None:  # noqa: ARG002 (a display may need it)
        """Print what happened since the last call."""
        lines = [line for event in self._tail.read() if (line := describe_event(event)) is not None]
        try:
            self._out.writelines(f"{line}\n" for line in lines)
            self._out.flush()
        except OSError:  # the reader has gone (`| head`, a closed terminal): the run goes on, `status` shows it
            nowhere = os.open(os.devnull, os.O_WRONLY)  # what is buffered still must go somewhere when we end
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
        if self._log is not None and lines:
            bound_log(self._log)


def find_target(project: Project) -> str:
    """Return the user's branch that landed work reaches, after looking whether work can start at all.

    Raises GitMissing, GitTooOld, EmptyRepository, BareRepository, NoHardLinks, Unsuitable, ConfigError.
    """
    require_git()
    repository = Repository.open(project.root)
    repository.require_commit()
    source = project.config.source
    target = project.config.target or repository.branch_checked_out()
    if target is None:
        problem = "HEAD is detached, so the branch that landed work should reach is not known; set `target: BRANCH`"
        raise ConfigError(source, None, "target", problem)
    if target.startswith(f"{_OURS}/"):
        raise ConfigError(
            source, None, "target", f"{target} is one of our own branches; name yours with `target: BRANCH`"
        )
    for checkout in repository.checkouts_of(LANDING_BRANCH):
        problem = (
            f"{LANDING_BRANCH} is ours to move and is checked out in {checkout.path}; `git switch` to another there"
        )
        raise ConfigError(source, None, "target", problem)
    if repository.branch_tip(_OURS) is not None:  # git keeps no branch beside a folder of branches of that name
        problem = (
            f"there is a branch {_OURS!r}, and ours are called {_OURS}/…; `git branch -m {_OURS} OTHER` frees the name"
        )
        raise ConfigError(source, None, "", problem)
    if repository.branch_tip(target) is None:
        raise ConfigError(source, None, "target", f"there is no branch {target!r}; create it or name another")
    if project.config.remote is not None:
        require_remote(project.config, repository)
    project.state.create()
    # Also where there is a queue: it may have been moved to another file system.
    probe.require(project.state.root, project.state.agents, durable=True)
    probe.require_names_kept(project.state.readme)
    return target


def notices(project: Project) -> list[str]:
    """Return what the user should know before a run that goes on overnight."""
    found = []
    if not project.config.checks and project.config.land == "auto":
        found.append("no `checks:` are configured: what merges without a conflict lands untested")
    if not project.config.parallel_mode:
        found.append(
            "one agent at a time (parallel_mode: false): one line a change, `run --agents` does not count, "
            "and a changed configuration is heard by the next run"
        )
    return found


@dataclass(frozen=True)
class Wishes:
    """The options of `run`. `agents` is None for as many as the configuration says."""

    agents: int | None = None
    drain: bool = False
    as_json: bool = False
    debug: bool = False
    no_color: bool = False


def run_command(project: Project, wishes: Wishes, notifier: Notifier) -> int:
    """Run until told to end, or with `drain` until nothing is left to do; return the exit code."""
    target = find_target(project)
    for notice in notices(project):
        sys.stderr.write(f"parallel-loop: {notice}\n")
    if project.config.remote is not None:
        problem = fetch_first(project, project.config.remote, target)
        if problem is not None:
            sys.stderr.write(f"parallel-loop: {problem}\n")
    lines = Lines(project.state.events, sys.stderr if wishes.as_json else sys.stdout, project.state.coordinator_log)
    if wishes.debug:
        from .debug import run_debugging

        code = run_debugging(project, target, drain=wishes.drain, tell=lines.show, colour=not wishes.no_color)
    elif not project.config.parallel_mode:
        from ..loop import run_alone

        code = run_alone(project, target, drain=wishes.drain, tell=lines.show, notifier=notifier)
    else:
        code = _run_parallel(project, target, wishes, notifier, lines)
    if wishes.as_json:
        from .aggregate import current_snapshot
        from .snapshot import encode

        sys.stdout.write(encode(current_snapshot(project)).decode() + "\n")
    return code


def _run_parallel(project: Project, target: str, wishes: Wishes, notifier: Notifier, lines: Lines) -> int:
    def coordinator(display: Display) -> Coordinator:
        return Coordinator(
            project, target, agents=wishes.agents, drain=wishes.drain, display=display, machine=Machine(notifier)
        )

    from .drawing.live import RUN_HINTS, can_draw, open_live_view

    if wishes.as_json or not can_draw(sys.stdout, project.environ):
        return coordinator(lines).run()
    with open_live_view(no_color=wishes.no_color, hints=RUN_HINTS) as view:
        run = coordinator(view)
        code = run.run()
        view.last_words = f"ended: {run.closing_line}" if run.closing_line else ""
    return code
