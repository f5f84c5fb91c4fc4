"""A changed `parallel-loop.yaml` comes into force while the coordinator runs.

Guarantees: a configuration comes into force whole or not at all; as long as the file cannot be used, the one before
stays in force for everybody, also for workers that are started meanwhile (see accepted.py), and `calls` says why.
A file is read when it has not changed for a moment, so that one that an editor has half written is not taken for what
its user means, and is called broken only when it stays so. Looking costs one `stat`.

A file that is gone is not taken for one in which everything is left out: `git switch` to a branch without it would
otherwise take the checks away in the middle of a run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from ..harness.configuration.accepted import write_accepted
from ..harness.configuration.config import load_config
from ..harness.configuration.settings import Config, ConfigError
from ..harness.project import Project
from ..harness.state import CONFIG_NAME
from .snapshot import Attention

_SETTLED_SECONDS = 1.0  # editors write in one go, or in two within milliseconds
_BROKEN_SECONDS = 3.0  # a file that cannot be used is given this long to become one that can
_NOT_IN_A_RUN = ("target", "worktrees", "parallel_mode")

_Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """What has come into force: the configuration, what it changes for the coordinator, and whether for workers."""

    config: Config
    agents: int | None  # how many are wanted now; None when the file says nothing new about that
    workers: bool


class Reloading:
    """Watches the file of one repository. `agents_fixed_by` is what counts more than its `agents`, if anything does."""

    def __init__(self, project: Project, target: str, agents_fixed_by: str = "") -> None:
        self._project = project
        self._target = target
        self._agents_fixed_by = agents_fixed_by
        self._path = project.root / CONFIG_NAME
        self._config = project.config  # in force
        self._was_there = self._stamp() != ()
        self._seen: _Stamp | None = None  # as of the last look; what was read before the first one may be older
        self._since = 0.0  # since when it is so
        self.due = math.inf  # when it is to be read, if nothing happens before (both in monotonic seconds)
        self._refusal = ""
        self._left_out: tuple[str, ...] = ()

    def begin(self) -> None:
        """Let the workers have the configuration that the run begins with. Raises OSError."""
        write_accepted(self._project.state.config, self._config)

    @property
    def calls(self) -> Iterator[Attention]:
        """What a person has to do about the file."""
        if self._refusal:
            why = f"{self._refusal}; until it is mended, the configuration before stays in force"
            yield Attention(item=None, why=why, next="parallel-loop doctor")
        if self._left_out:
            why = f"{self._needs_restart()}; all else in {CONFIG_NAME} is in force"
            yield Attention(item=None, why=why, next="parallel-loop restart")

    def look(self, now: float, *, at_once: bool = False) -> Change | None:
        """Return what comes into force now, None when nothing does. Raises OSError, and is to be called again then.

        `at_once` says that a person has asked for it: the file is what they mean, and they get an answer.
        """
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen, self._since, self.due = stamp, now, now + _SETTLED_SECONDS
        if now < self.due and not at_once:
            return None
        broken_at = self._since + _BROKEN_SECONDS
        try:
            change = self._accept(self._read(), asked=at_once)
        except ConfigError as error:
            if at_once or now >= broken_at:
                self._refuse(str(error), asked=at_once)
            self.due = broken_at if now < broken_at else math.inf
            return None
        if now >= self.due:
            self.due = math.inf
        return change

    def _stamp(self) -> _Stamp:
        """Return what changes whenever the file does; empty when there is none, or it cannot be looked at."""
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _read(self) -> Config:
        if self._was_there and self._seen == ():
            raise ConfigError(CONFIG_NAME, None, "", "was removed; put it back, if only as an empty file")
        return load_config(self._path, self._project.environ)

    def _refuse(self, why: str, *, asked: bool) -> None:
        if why != self._refusal or asked:
            self._project.state.record_event("reload-refused", why=why)
        self._refusal = why

    def _accept(self, wanted: Config, *, asked: bool) -> Change | None:
        before, changed = self._config, _changed_keys(self._config, wanted)
        left_out = tuple(key for key in changed if key in _NOT_IN_A_RUN and getattr(wanted, key) != self._actual(key))
        changed = [key for key in changed if key not in _NOT_IN_A_RUN]
        config = structs.replace(wanted, **{key: getattr(before, key) for key in _NOT_IN_A_RUN})
        if changed:
            write_accepted(self._project.state.config, config)
        state, news = self._project.state, left_out != self._left_out
        answer = ", ".join(changed) or "nothing that counts has changed"
        if changed or self._refusal or (asked and not news):
            state.record_event("reloaded", why=answer)
        self._config, self._refusal, self._left_out, self._was_there = config, "", left_out, self._seen != ()
        if left_out and news:
            state.record_event("restart-needed", why=self._needs_restart())
        return self._change(changed) if changed else None

    def _actual(self, key: str) -> object:
        return self._target if key == "target" else getattr(self._config, key)

    def _needs_restart(self) -> str:
        keys = ", ".join(f"`{key}`" for key in self._left_out)
        return f"{keys} cannot change in a run and will be heard when the coordinator is started again"

    def _change(self, changed: list[str]) -> Change:
        agents = self._config.file_agents if "agents" in changed else None
        if agents is not None and self._agents_fixed_by:
            why = f"`agents: {agents}` in {CONFIG_NAME} does not count beside {self._agents_fixed_by}"
            self._project.state.record_event("agents-fixed", why=why)
            agents = None
        return Change(self._config, agents, workers=changed != ["agents"])


def _changed_keys(before: Config, after: Config) -> list[str]:
    """Return the keys of the file that are not as before; what else counts besides it has not changed in a run."""
    names = {field.name: field.encode_name for field in structs.fields(Config) if hasattr(field.type, "__metadata__")}
    as_in_file = [structs.replace(config, agents=config.file_agents) for config in (before, after)]
    return [key for name, key in names.items() if getattr(as_in_file[0], name) != getattr(as_in_file[1], name)]
