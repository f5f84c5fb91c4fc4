"""`parallel-loop demo`: the main job from the first item to the last landed commit, on a throw-away repository.

Guarantees: nothing outside a temporary folder is written, and that folder is gone afterwards, also after Ctrl-C, unless
it was asked for or there is something in it to look at. Exit code 0 means that every promise was looked into and kept.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ...harness.project import Project
from ...queue.survey import Survey
from ...worktrees.git import require_git
from ..notify import Notifier
from ..run import Wishes, run_command
from .items import demo_items
from .report import Figures, Verifier
from .repository import TARGET, make_repository

_INTERRUPTED = 130
_OF_A_RUN = ("PARALLEL_MODE", "PARALLEL_AGENTS")  # meant for the user's own repository


def run_demo(agents: int = 3, keep: bool = False, *, no_color: bool = False) -> int:
    """Run the demo with so many agents and return the exit code; with `keep` its folder stays.

    Raises GitMissing, GitTooOld, GitError, NoHardLinks, OSError: what keeps it from beginning.
    """
    require_git()
    with _ended_by_signals() as listen:
        folder = Path(tempfile.mkdtemp(prefix="parallel loop demo-"))  # with spaces: they must not matter
        failed = False
        try:
            code = _run(folder, agents, no_color, listen)
            failed = code == 1
        except KeyboardInterrupt:
            code = _INTERRUPTED
        finally:
            _leave(folder, keep=keep or failed)
    return code


def _run(folder: Path, agents: int, no_color: bool, listen: Callable[[], None]) -> int:
    root = folder / "repository"
    start, origin = make_repository(root, agents)
    environ = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
    project = Project.open(root, environ)
    project.state.create()
    items = project.queue.add(demo_items(root, project.queue.now()))
    _say(f"The repository is {origin}.", f"{len(items)} items are in its queue; {agents} agents begin.", "")
    began = time.monotonic()
    try:
        code = run_command(project, Wishes(agents, drain=True, no_color=no_color), Notifier())
    finally:
        listen()
    wall_seconds = time.monotonic() - began
    survey = Survey(project.queue)
    survey.refresh()
    if code == _INTERRUPTED or not survey.is_drained():  # a first Ctrl-C ends a run well, with work left over
        _say("", "Interrupted; what had landed by then was not verified.")
        return _INTERRUPTED
    _say("", "Checking out every commit on the target and running the checks on it.")
    return _report(Figures.of(survey), Verifier(project, start), wall_seconds, agents, folder / "verify")


def _report(figures: Figures, verifier: Verifier, wall_seconds: float, agents: int, place: Path) -> int:
    """Print what the run came to; 0 when every promise was kept."""
    problems = [*verifier.left_running(), *verifier.checkout_problems(), *figures.unfinished]
    commits = verifier.commits()
    failing = verifier.failing_commits(commits, place)
    work, speed_up = figures.work_seconds, figures.work_seconds / wall_seconds
    rows = {
        "landed": f"{figures.landed} of {figures.items} items",
        "tried again": "; ".join(figures.retried) or "none",
        "merged by line": ", ".join(verifier.combined_files()) or "no file was changed by two branches at once",
        "verified": f"{len(commits) - len(failing)} of {len(commits)} commits on {TARGET} pass the checks",
        "wall clock": f"{wall_seconds:.1f} s, from the first agent's start to the last landing",
        "one agent": f"would have taken {work:.1f} s: the sum of what each attempt took from claim to end",
        "speed-up": f"{speed_up:.2f} = {work:.1f} s / {wall_seconds:.1f} s{_caution(agents)}",
    }
    _say("", *verifier.graph(), "", *(f"{name:<15} {value}" for name, value in rows.items()), "")
    problems += failing
    _say(*(f"NOT AS PROMISED: {problem}" for problem in problems))
    return 1 if problems else 0


def _caution(agents: int) -> str:
    """The durations are taken while others run, too: with too few processors each is longer than it would be alone."""
    processors = os.cpu_count() or 1
    return f"; flattering, since {agents} agents shared {processors} processors" if processors < agents else ""


def _leave(folder: Path, *, keep: bool) -> None:
    """Remove the folder, or say where it is. A further Ctrl-C must not cut the removal short."""
    if keep:
        _say(f"The repository stays: cd {shlex.quote(str(folder / 'repository'))}")
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _say(f"Some of {folder} could not be removed; rm -r {shlex.quote(str(folder))}")


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


@contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C and SIGTERM end us as an exception; yields what makes it so again after a run had its own handlers."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)

    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    listen()
    try:
        yield listen
    finally:
        for number, handler in before:
            signal.signal(number, handler)
