"""What is known of accounts, in one file that the workers share (see changing.py); losing it loses what they met.

Whose account is used by whom, each worker says in a file of its own: that counts as long as its claim is open.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import msgspec

from ...queue import atomic
from ...queue.clock import to_datetime, to_text
from ...queue.records import Item
from ..changing import Changed
from ..configuration.config import Config
from ..configuration.settings import SHELL
from ..pausing.pause_file import configuration_of
from ..programs import program_of
from ..project import Project
from ..state import read_record
from . import standing
from .account import after
from .events import Event
from .standing import Account, Policy, State

_DAY_MINUTES = 24 * 60
_EARLIEST, _FURTHEST = "0002", "9999"


class Using(msgspec.Struct, frozen=True):
    """Which account an agent uses, as long as the claim with that number of the item's chain is open."""

    account: str
    item: str
    number: int


def account_of(program: str, config: Config) -> str | None:
    """Return the account that `program` uses; None for the shell."""
    return None if program == SHELL else config.adapter(program).account or program


def fallback_of(item: Item, config: Config) -> str | None:
    """Return the program that runs `item` while the account of its own cannot be used.

    An item that names its program keeps to that.
    """
    if item.command is not None or item.program is not None:
        return None
    role = config.roles.get(item.role) if item.role else None
    found = (role.fallback if role else None) or config.fallback
    return None if found == program_of(item, config) else found


def policy_of(config: Config) -> Policy:
    after = config.after_limit
    return Policy(after.auto, after.slack_seconds, after.jitter_seconds, _within(after.window))


def _within(window: tuple[int, int] | None) -> Callable[[str], str]:
    """Return what finds the first moment, of a given one and those after it, in these minutes of the local day."""
    if window is None:
        return lambda moment: moment

    def first(moment: str) -> str:
        if not _EARLIEST <= moment < _FURTHEST:  # where no day follows, or was before
            return moment
        then = to_datetime(moment).astimezone()
        begin, end = window
        minute = then.hour * 60 + then.minute
        if (minute - begin) % _DAY_MINUTES < (end - begin) % _DAY_MINUTES:
            return moment
        opening = then.replace(hour=begin // 60, minute=begin % 60, second=0, microsecond=0, tzinfo=None)
        if minute >= begin:
            opening += timedelta(days=1)
        return to_text(opening.astimezone())  # by the offset of that day, should clocks be changed before

    return first


class AccountFile:
    """The file as one process knows it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._file = Changed(project.state.accounts, project.state.accounts_lock, State)

    def look(self) -> State:
        """Return what is known, under the configuration in force."""
        state = self._file.look()
        if not state.accounts:
            return state
        accounts = tuple(map(self._by_configuration, state.accounts))
        return state if accounts == state.accounts else State(accounts, state.kept)

    def _by_configuration(self, account: Account) -> Account:
        if account.standing != "refused" or configuration_of(account.program, self._project.config) == account.config:
            return account
        return standing.asked_by_configuration(account)

    def locked(self) -> AbstractContextManager[None]:
        """Let nobody else change anything while the block runs. Raises OSError."""
        return self._file.locked()

    def change(self, *events: Event) -> None:
        """Let `events` happen, tell who waits of them. Raises OSError."""

        def step(state: State) -> State:
            now = self._project.queue.now()
            state = State(tuple(map(self._by_configuration, state.accounts)), state.kept)
            for event in events:
                state = after(state, event, now)
            return state

        self._tell(*self._file.change(step))

    def _tell(self, before: State, after: State) -> None:
        policy = policy_of(self._project.config)
        sooner = False
        for account in after.accounts:
            old = before.get(account.name)
            was = "open" if old is None else old.standing
            if account.standing != was or (old is not None and account.at != old.at):
                until = standing.opens_at(account, policy) if account.standing != "open" else None
                why = account.why if account.standing != "open" else None
                held_by = standing.held_by(account, policy)
                self._project.state.record_event(
                    f"account-{account.standing}",
                    account=account.name,
                    until=until,
                    resets_at=standing.told_end(account) if held_by else None,
                    held_by=held_by,
                    why=why,
                )
            sooner = sooner or (old is not None and (old.standing, old.asked) != (account.standing, account.asked))
        if sooner:
            self._project.queue.bell.ring()  # those who wait know how long from what they read last

    def in_use(self) -> Counter[str]:
        """Return how many attempts are being made on each account."""
        state = self._project.state
        using = (read_record(state.agent(name).using, Using) for name in state.agent_names())
        chain = self._project.queue.chain
        return Counter(one.account for one in using if one is not None and chain.is_claim_open(one.item, one.number))

    def note_use(self, agent: str, using: Using) -> None:
        """Say what `agent` uses from now on."""
        with contextlib.suppress(OSError):  # of the room for it nothing worse follows than one attempt too many
            atomic.replace_file(self._project.state.agent(agent).using, msgspec.json.encode(using) + b"\n")


def changes(state: State, policy: Policy, now: str) -> Iterator[str]:
    """Yield when what is known will be different by itself: accounts open."""
    for account in state.accounts:
        moment = standing.opens_at(account, policy)
        if moment is not None and moment > now:
            yield moment
