"""What is known of failing programs, in one file that the workers share (see changing.py); losing it loses pauses."""

from __future__ import annotations

import zlib

import msgspec

from ...queue.clock import later
from ...queue.records import Item
from ...queue.requests import OVER_BUDGET
from ..budgets import RunBudget
from ..changing import Changed
from ..configuration.config import Config
from ..configuration.settings import SHELL
from ..programs import program_of
from ..project import Project
from . import pauses
from .pauses import Event, Failure, RunBegun, State, Trouble

_NO_TRIAL_SECONDS = 1000.0  # from whenever one looks; no more than a real pause lasts, or it would count as due


def key_of(item: Item, config: Config) -> str:
    """Return what is paused when attempts at `item` fail alike: its program, of the shell one command line."""
    program = program_of(item, config)
    if program != SHELL:
        return program
    return f"{SHELL} {zlib.crc32((item.command or '').encode(errors='surrogatepass')):08x}"


def configuration_of(program: str, config: Config) -> int:
    """Return a number that stands for all of the configuration that an attempt of `program` depends on."""
    parts = (config.programs.get(program), config.setup, config.checks, config.limits)
    return zlib.crc32(msgspec.json.encode(parts))


class PauseFile:
    """The file as one process knows it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._run_budget = RunBudget(project)
        self._file = Changed(project.state.pauses, project.state.pauses_lock, tuple[Trouble, ...])

    def look(self) -> State:
        """Return what is known, read again only when the file is another one than before."""
        return self._file.look()

    def in_force(self) -> dict[str, Trouble]:
        """Return the pauses by key, without those that began under another configuration."""
        config = self._project.config
        found = {
            one.key: one
            for one in self.look()
            if one.until is not None and configuration_of(one.last.program, config) == one.last.config
        }
        return found | {name: self._for_want_of_money(name) for name in self._run_budget.barred()}

    def _for_want_of_money(self, program: str) -> Trouble:
        """Return the pause of a program whose run has cost what it may: until another run, or another configuration."""
        now, config = self._project.queue.now(), configuration_of(program, self._project.config)
        last = Failure(
            key=program, config=config, program=program, outcome=OVER_BUDGET, end="", said=self._run_budget.why,
            item="", seconds=0.0,
        )  # fmt: skip
        return Trouble(last=last, at=now, attempts=0, until=later(now, _NO_TRIAL_SECONDS))

    def change(self, event: Event) -> tuple[State, State]:
        """Let `event` happen, tell who waits of it, and return what was known before and after. Raises OSError."""
        if isinstance(event, RunBegun):
            self._run_budget.begin()
        before, after = self._file.change(lambda known: pauses.after(known, event, self._project.queue.now()))
        self._tell(before, after)
        return before, after

    def _tell(self, before: State, after: State) -> None:
        old = {one.key: one for one in before if one.until is not None}
        new = {one.key: one for one in after if one.until is not None}
        for key in new.keys() - old.keys():
            self._project.state.record_event("program-paused", program=new[key].last.program, why=why(new[key]))
        for key in old.keys() - new.keys():
            self._project.state.record_event("program-resumed", program=old[key].last.program)
        if old.keys() - new.keys() or any(old[key].until != new[key].until for key in old.keys() & new.keys()):
            self._project.queue.bell.ring()  # those who wait know how long from what they read last


def is_for_money(trouble: Trouble) -> bool:
    """Tell whether nothing is wrong with the program, but the run has cost what it may."""
    return trouble.last.outcome == OVER_BUDGET


def what(trouble: Trouble) -> str:
    """Name what is paused."""
    failure = trouble.last
    if is_for_money(trouble):
        return "what costs money"
    return f"the command `{failure.command}`" if failure.program == SHELL else f"the program {failure.program}"


def why(trouble: Trouble) -> str:
    """Say why it is paused, with the last line of its output."""
    failure = trouble.last
    if is_for_money(trouble):
        return failure.said
    code = "" if failure.exit_code in {None, 0} else f", exit code {failure.exit_code}"
    return f"{trouble.attempts} attempts failed alike within seconds ({failure.outcome}{code}): {failure.said}"
