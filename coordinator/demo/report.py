"""What the demo came to: its figures, and whether everything it promises is true. Looks, and changes nothing.

Guarantees: every commit on the target is checked out by itself, apart from the run's worktrees, and passes the checks
there; nothing is believed because the run said so.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...harness.identity import is_alive
from ...harness.keeping.processes import end_marked
from ...harness.project import Project
from ...harness.state import read_heartbeat
from ...queue.records import Entry
from ...queue.survey import Survey
from ...worktrees.environment import scrub
from ...worktrees.git import Git
from ...worktrees.landing import LANDING_BRANCH
from ..target_report import LANDER
from .repository import TARGET

_SHOWN_LINES = 40


@dataclass(frozen=True)
class Figures:
    """The run in numbers. `work_seconds` is the sum of what the attempts took, each from its claim to its end."""

    items: int
    landed: int
    retried: tuple[str, ...]  # item, and why
    unfinished: tuple[str, ...]  # item, state, and why
    work_seconds: float

    @classmethod
    def of(cls, survey: Survey) -> Figures:
        """Read them from the queue."""
        entries = survey.all_entries()
        states = [(entry, survey.state(entry)) for entry in entries]
        attempts = [seconds for entry in entries for seconds in _attempt_seconds(entry)]
        released = [(entry, record) for entry in entries for record in entry.records if record.kind == "released"]
        return cls(
            items=len(entries),
            landed=sum(state == "done" for _, state in states),
            retried=tuple(f"{entry.item.id}, {record.outcome}" for entry, record in released if record.counted),
            unfinished=tuple(_describe(entry, state) for entry, state in states if state != "done"),
            work_seconds=sum(attempts),
        )


def _attempt_seconds(entry: Entry) -> list[float]:
    """Return what each attempt took; landing repeats the figure of the attempt it lands, so the last one counts."""
    found: list[float] = []
    for record in entry.records:
        if record.kind == "claimed":
            found.append(0.0)
        elif found and record.seconds is not None:
            found[-1] = record.seconds
    return found


def _describe(entry: Entry, state: str) -> str:
    why = entry.last.why if entry.last is not None else None
    return f"{entry.item.id} is {state}" + (f": {why}" if why else "")


class Verifier:
    """Looks at the repository after the run; `start` is the commit that the history began from."""

    def __init__(self, project: Project, start: str) -> None:
        self._project = project
        self._git = Git(project.root)
        self._start = start

    def commits(self) -> list[str]:
        """Return the commits that the target went through, the oldest first."""
        return self._git.text("rev-list", "--first-parent", "--reverse", f"{self._start}..{TARGET}").split()

    def failing_commits(self, commits: list[str], place: Path) -> list[str]:
        """Check out every commit at `place` and run the checks; return one line for each that fails."""
        if not commits:
            return []
        self._git.run("worktree", "add", "--quiet", "--detach", str(place), commits[0])
        git = Git(place)
        failing = []
        for commit in commits:
            git.run("checkout", "--quiet", "--detach", commit)
            failing += [f"commit {commit[:12]} fails its check: {said}" for said in self._failures(place)]
        return failing

    def _failures(self, place: Path) -> Iterator[str]:
        for command in self._project.config.checks:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                cwd=place,
                env=scrub(self._project.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode != 0:
                yield done.stdout.decode(errors="replace").strip().partition("\n")[0]

    def combined_files(self) -> list[str]:
        """Return the files that landing put together line by line out of two branches that had both changed them."""
        merges = self._git.text("rev-list", "--merges", f"{self._start}..{TARGET}").split()
        found = [self._git.run("diff-tree", "-c", "--no-commit-id", "--name-only", "-r", "-z", c) for c in merges]
        return sorted({name for result in found for name in result.fields})

    def left_running(self) -> list[str]:
        """Return what still runs of the run: workers by their heartbeat, programs by their mark (these are ended)."""
        found = []
        for name in (*self._project.state.agent_names(), LANDER):
            beat = read_heartbeat(self._project.state.agent(name))
            if beat is not None and is_alive(beat.identity):
                found.append(f"the process {beat.pid} of {name} still runs")
            left = end_marked(self._project.state.root, name)
            if left:
                found.append(f"{left} processes that {name} had started still ran")
        return found

    def checkout_problems(self) -> list[str]:
        """Return in what the user's checkout is not exactly what landed."""
        found = []
        landed, target = self._git.text("rev-parse", f"refs/heads/{LANDING_BRANCH}", f"refs/heads/{TARGET}").split()
        if landed != target:
            found.append(f"{TARGET} is at {target[:12]}, but what landed is {landed[:12]}")
        if self._git.text("symbolic-ref", "HEAD") != f"refs/heads/{TARGET}":
            found.append(f"{TARGET} is not checked out any more")
        status = self._git.text("status", "--porcelain", "--untracked-files=all")
        if status:
            found.append(f"the checkout is not clean: {status.partition(chr(10))[0]}")
        return found

    def graph(self) -> list[str]:
        """Return the history of the target as git draws it, its newest lines."""
        refs = [f"--decorate-refs=refs/heads/{name}" for name in (TARGET, LANDING_BRANCH)]
        options = ["--graph", "--oneline", "--decorate=short", "--no-color", "--no-show-signature"]
        lines = self._git.text("log", *options, *refs, f"--max-count={_SHOWN_LINES}", TARGET).splitlines()
        return lines[:_SHOWN_LINES] + ["…"] * (len(lines) > _SHOWN_LINES)
