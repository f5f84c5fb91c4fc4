"""One user's repository with everything of ours in it: the state directory, the configuration, the queue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..queue.retry import RetryPolicy
from ..queue.store import Queue
from ..worktrees.discovery import find_root
from .config import Config, load_config
from .state import CONFIG_NAME, DIRECTORY, StateDirectory


@dataclass(frozen=True)
class Project:
    """Paths and settings of one repository. Opening it starts no git and changes nothing."""

    root: Path
    config: Config
    state: StateDirectory
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def open(cls, start: Path, environ: Mapping[str, str] | None = None) -> Project:
        """Open the repository around `start`. Raises NotARepository, BareRepository or ConfigError."""
        environ = dict(os.environ) if environ is None else environ
        root = find_root(start)
        if root is None:
            from ..worktrees.repository import Repository

            root = Repository.open(start).root  # git knows why not, and knows unusual layouts
        return cls(root, load_config(root / CONFIG_NAME, environ), StateDirectory(root / DIRECTORY), environ)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self.state.queue)

    @property
    def retry(self) -> RetryPolicy:
        retry = self.config.retry
        return RetryPolicy(retry.attempts, retry.first_seconds, retry.factor, retry.max_seconds)

    @property
    def wip(self) -> dict[str, int]:
        """Return the limit of each role that has one."""
        return {name: role.wip for name, role in self.config.roles.items() if role.wip is not None}

    @property
    def places(self) -> tuple[Path, ...]:
        """Return the directories in which there must be room for work to go on."""
        return self.state.root, self.worktrees

    @property
    def worktrees(self) -> Path:
        """Return where the agents' checkouts lie."""
        return self.root / self.config.worktrees
