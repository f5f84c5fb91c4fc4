"""What every command needs of its caller: where the repository is, and how to write the result."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import NoPlace, NotThere, WrongUsage

if TYPE_CHECKING:  # `--help` and `--version` need no repository
    from ...harness.project import Project
    from ...queue.records import Entry

_AGENT_NAME = re.compile(r"agent-[0-9]+")


@dataclass
class Caller:
    """The options before the command's name; filled in when they have been read."""

    repo: Path | None = None
    no_color: bool = False

    def start(self) -> Path:
        """Return the directory in or below the repository. Raises NoPlace, WrongUsage."""
        try:
            here = Path.cwd()
        except OSError as error:
            problem = f"the current directory cannot be used ({error.strerror}); change to one that exists"
            raise NoPlace(problem) from None
        if self.repo is None:
            return here
        if not self.repo.is_dir():
            raise WrongUsage(f"--repo: {self.repo} is not a directory; name one in the repository")
        return here / self.repo

    def project(self, *, only_read: bool = False) -> Project:
        """Open the repository. Raises NotARepository, BareRepository, ConfigError, NoPlace, WrongUsage.

        While a coordinator runs, a file that cannot be used stops nobody from speaking to it: what it accepted counts.
        Who wants to `only_read` is told what is wrong, and goes on without it.
        """
        from ...harness.configuration.settings import Config, ConfigError
        from ...harness.project import Project
        from ...harness.state import StateDirectory

        try:
            return Project.open(self.start())
        except ConfigError as error:
            accepted = self._accepted()
            state = self.state_if_known()
            if accepted is None and only_read and state is not None:
                click.echo(f"parallel-loop: {error}", err=True)
                return Project(state.parent, Config(), StateDirectory(state))
            if accepted is None:
                raise
            project = Project.open(self.start(), accepted=(str(accepted),))
            click.echo(f"parallel-loop: {error}; what the running coordinator accepted before counts", err=True)
            return project

    def _accepted(self) -> Path | None:
        """Return the file of the configuration that is in force, None when no coordinator runs."""
        from ...harness.state import StateDirectory
        from ..lock import read_holder

        root = self.state_if_known()
        state = None if root is None else StateDirectory(root)
        return state.config if state is not None and read_holder(state.coordinator_lock) is not None else None

    def state_if_known(self) -> Path | None:
        """Return the state directory if there is one already, None on any doubt."""
        from ...harness.state import DIRECTORY
        from ...worktrees.discovery import find_root

        try:
            root = find_root(self.start())
        except (OSError, ValueError, NoPlace, WrongUsage):
            return None
        state = None if root is None else root / DIRECTORY
        return state if state is not None and state.is_dir() else None


def find_entry(project: Project, item_id: str) -> Entry:
    """Return the item with its history. Raises InvalidId, NoSuchItem, Unreadable."""
    from ...queue.ids import check_id
    from ...queue.requests import NoSuchItem

    entry = project.queue.entry(check_id(item_id))
    if entry is None:
        raise NoSuchItem(item_id)
    return entry


def nobody(project: Project, name: str) -> Exception:
    """Return what to raise where neither an item nor an agent has that name."""
    from ...queue.requests import NoSuchItem

    return no_agent(project, name) if _AGENT_NAME.fullmatch(name) else NoSuchItem(name)


def no_agent(project: Project, name: str) -> NotThere:
    names = project.state.agent_names()
    known = f"those that there are: {', '.join(names)}" if names else "none has worked here yet"
    return NotThere(f"there is no agent {name!r}; {known}")


def waits_for(entry: Entry, is_done: Callable[[str], bool], read: Callable[[str], Entry | None]) -> list[str]:
    """Return the dependencies of an item that are not done; of one that never will be by itself, why."""
    from ...queue.requests import is_unlanded

    names = []
    for name in entry.item.after:
        if not is_done(name):
            other = read(name)
            last = None if other is None else other.last
            if last is not None and last.kind in {"failed", "cancelled"}:
                names.append(f"{name}, which is {last.kind}")
            elif other is not None and is_unlanded(other):
                names.append(f"{name}, which has not landed")
            else:
                names.append(name)
    return names


def write_json(value: object) -> None:
    """Write `value` as one JSON document on a line of its own."""
    import msgspec

    click.echo(msgspec.json.encode(value))
