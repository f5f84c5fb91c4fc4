"""One user's repository with everything of ours in it: the state directory, the configuration, the queue."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from ..queue.retry import RetryPolicy
from ..queue.store import Queue
from ..worktrees.discovery import find_root
from .configuration.accepted import read_accepted
from .configuration.config import Config, load_config
from .state import CONFIG_NAME, DIRECTORY, StateDirectory


@dataclass(frozen=True)
class Project:
    """Paths and settings of one repository. Opening it starts no git and changes nothing."""

    root: Path
    config: Config
    state: StateDirectory
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @classmethod
    def open(cls, start: Path, environ: Mapping[str, str] | None = None, accepted: Sequence[str] = ()) -> Project:
        """Open the repository around `start`. Raises NotARepository, BareRepository or ConfigError.

        With the path `accepted`, the configuration is what a coordinator wrote there, and not the user's file.
        """
        environ = dict(os.environ) if environ is None else environ
        root = find_root(start)
        if root is None:
            from ..worktrees.repository import Repository

            root = Repository.open(start).root  # git knows why not, and knows unusual layouts
        config = read_accepted(Path(*accepted)) if accepted else load_config(root / CONFIG_NAME, environ)
        return cls(root, config, StateDirectory(root / DIRECTORY), environ)

    def reconfigured(self, config: Config) -> Project:
        """Return the same repository under another configuration."""
        other = replace(self, config=config)
        vars(other)["queue"] = self.queue  # the same object: whoever listens to its bell goes on
        return other

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
    def folders(self) -> dict[str, Path]:
        """Return the folders in which there must be room for work to go on, by what they are for."""
        return {"worktrees": self.worktrees, "state": self.state.root}

    @property
    def worktrees(self) -> Path:
        """Return where the agents' checkouts lie."""
        return self.root / self.config.worktrees
