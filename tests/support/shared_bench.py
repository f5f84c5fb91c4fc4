"""A repository whose shared files and refs a program was at, as the guard of `worktrees/shared.py` sees it."""

from __future__ import annotations

import os
import subprocess

from parallel_loop.worktrees.environment import Identity, scrub
from parallel_loop.worktrees.evidence import Command, read_commands, trace_variables
from parallel_loop.worktrees.quarantine import Quarantine
from parallel_loop.worktrees.reflogs import program_email
from parallel_loop.worktrees.shared import Change, SharedFiles
from parallel_loop.worktrees.shared_files import File
from parallel_loop.worktrees.shared_refs import Attempted, Deed, remember, settle
from support.repository import attempt_git, environment, git
from support.worktrees import Place

BRANCH = "parallel-loop/item/x/1"
KEPT = "refs/parallel-loop/salvage/x/1"


class SharedBench:
    """A repository before, during and after a program of agent-1, in whose place any shell command is run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.root = place.root
        self.git_dir = place.root / ".git"
        self.trace = place.root / ".parallel-loop" / "trace"
        self.quarantine = Quarantine(place.root / ".parallel-loop" / "quarantine")
        self.files = SharedFiles(self.git_dir, self.quarantine)
        git(place.worktree.path, "switch", "--quiet", "-c", BRANCH)
        self.begin()

    def begin(self) -> None:
        marker = self.root / ".parallel-loop" / "marker"
        marker.write_text("")
        self.trace.unlink(missing_ok=True)
        self.known: dict[str, File] = self.files.look()
        self.before = remember(self.place.repository, marker.stat().st_mtime_ns)

    def program(self, command: str, agent: str = "agent-1") -> None:
        """Run a shell command as the program of an agent, in the worktree of the first."""
        worktree = self.place.worktree
        environ = scrub(environment()) | worktree.program_environment(Identity(agent, program_email(agent)))
        environ |= trace_variables(self.trace)
        # The file system's clock has ticks: a program takes longer to start than one of them.
        os.utime(self.root / ".parallel-loop" / "marker")
        subprocess.run(["sh", "-ec", command], cwd=worktree.path, env=environ, check=True, capture_output=True)

    def commands(self) -> list[Command]:
        return read_commands(self.trace, self.place.repository.places())

    def look(self) -> list[Change]:
        """Judge the files, and see that a second look finds nothing more."""
        found = self.files.judge(self.known, self.commands)
        self.known = self.files.look()
        assert self.files.judge(self.known, self.commands) == []
        return found

    def settle(self, agent: str = "agent-1") -> list[Deed]:
        """Commit, detach and settle, as the end of an attempt does."""
        git(self.place.worktree.path, "checkout", "--quiet", "--force", "--detach")
        attempted = Attempted(program_email(agent), BRANCH, KEPT)
        return settle(self.place.repository, self.before, attempted, self.commands())

    def refs(self) -> dict[str, str]:
        """All refs but those of salvage."""
        lines = git(self.root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return {name: value for name, value in map(str.split, lines) if not name.startswith("refs/parallel-loop/")}

    def config(self, *argv: str) -> str:
        return attempt_git(self.root, "config", *argv).stdout.strip()
