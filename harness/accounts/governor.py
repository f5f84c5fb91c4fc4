"""Taking items with regard to accounts: whose account cannot be used is passed over, or run by another program.

Guarantees:
- never more attempts are made on an account than its cap allows, and after a limit one starts after the other: who
  takes looks, claims and writes down what it uses while nobody else does;
- what an attempt met that says something of its account costs its item no attempt, and no wait beyond the account's;
- a session that goes on only where it was waits a minute for its agent, as long as that has a worker;
- while nothing is known of any account, a take costs one `stat` more, and a claim one small file.

A claim that another program is to work on is handed on as that of an item that names this program: so all that follows
needs no second way of asking which program it is. The item's own file stays as it is.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from ...queue.atomic import Unreadable
from ...queue.clock import seconds_until
from ...queue.records import Entry, Item, Record
from ...queue.taking import Claim, PassesOver, Taker
from ..configuration.config import Config
from ..outcome import Evidence
from ..pausing.trials import Trials
from ..programs import program_of
from ..project import Project
from ..resuming import goes_on_only_there, is_bound_to_its_place, resumption
from .account_file import AccountFile, Using, account_of, changes, fallback_of, policy_of
from .events import Begun, Busy, Event, Limited, Refused, SessionKept, Succeeded, Taken
from .findings import event_of
from .sessions import Sessions
from .standing import Policy, State, is_parked, may_begin

_LASTING_SECONDS = 120.0  # programs ask several times, for longer each time, before they say that they are not let in
_LOCKED_OUT_SECONDS = 1.0  # after which to look again, when somebody is stopped while it takes


class Plan(msgspec.Struct, frozen=True):
    """On whose account an item can be worked on, and with which program else."""

    account: str | None
    fallback: str | None
    fallback_account: str | None


class Governor:
    """One worker's regard for accounts, in front of its regard for paused programs."""

    def __init__(self, project: Project, agent: str, trials: Trials) -> None:
        self._project, self._agent, self._trials = project, agent, trials
        self._file = AccountFile(project)
        self._state = State()
        self._plans: dict[str, Plan] = {}
        self._plans_under: Config | None = None
        self._policy: Policy = policy_of(project.config)
        self._in_use: Counter[str] | None = None
        self._may_begin: dict[str, bool] = {}
        self._chosen: dict[str, str] = {}  # other programs than the items' own, by item
        self._sessions = Sessions(project, agent)
        self._is_locked_out = False
        self._trial: tuple[str, str, float] | None = None  # its account, since when, and the same by another clock

    # --- taking ---------------------------------------------------------------------------------------

    def take(self, taker: Taker, leaves: PassesOver | None = None) -> Claim | None:
        """Claim the first item that can be taken and whose account can be used, but none of which `leaves` says yes."""
        self._begin_to_look()
        if self._state == State():
            self._plans.clear()
            claim = self._trials.take(taker, leaves)
            return None if claim is None else self._taken(claim)
        with contextlib.ExitStack() as stack:
            self._lock(stack)
            own = self._sessions.own(self._state, self._can_use)
            claim = None
            if own:
                # Before all else, however urgent: after a minute another agent would begin it anew.
                claim = self._take(taker, _either(lambda item_id, _read: item_id not in own, leaves))
            claim = claim or self._take(taker, leaves)
            return None if claim is None else self._taken(claim)

    def _take(self, taker: Taker, leaves: PassesOver | None) -> Claim | None:
        return self._trials.take(taker, _either(self._unusable, leaves), self._chosen.get)

    @property
    def seconds_until_due(self) -> float:
        """How long it is until an account opens or a session waits no longer, as of the last take."""
        if self._is_locked_out:
            return _LOCKED_OUT_SECONDS
        now = self._project.queue.now()
        moments = (*changes(self._state, self._policy, now), *self._sessions.ends.values())
        return min((seconds_until(moment, now) for moment in moments), default=math.inf)

    def _begin_to_look(self) -> None:
        config = self._project.config
        if self._plans_under is not config:
            self._plans.clear()
            self._plans_under, self._policy = config, policy_of(config)
        self._state = self._file.look()
        self._in_use, self._is_locked_out = None, False
        for known in (self._may_begin, self._chosen, self._sessions.ends):
            known.clear()

    def _lock(self, stack: contextlib.ExitStack) -> None:
        """Look again while nobody else begins anything, if an account is such that this matters."""
        now = self._project.queue.now()
        if not any(may_begin(one, self._policy, now, 0) for one in self._state.accounts):
            return
        try:
            stack.enter_context(self._file.locked())
            self._state = self._file.look()
        except OSError:  # somebody is stopped while it takes, or there is no room for the lock
            self._is_locked_out = True

    def _taken(self, claim: Claim) -> Claim:
        """Write down what is used from now on, and hand the claim on as that of the program that is to be run."""
        item, config = claim.item, self._project.config
        program = self._chosen.get(item.id)
        if program is not None:
            claim = Claim(Entry(msgspec.structs.replace(item, program=program), claim.entry.records), claim.started_at)
        account = account_of(program or program_of(item, config), config)
        if account is not None:
            self._file.note_use(self._agent, Using(account, item.id, len(claim.entry.records)))
        events: list[Event] = [Taken(item.id)] if any(one.item == item.id for one in self._state.kept) else []
        if account is not None and self._state.get(account) is not None:
            agents = len(self._project.state.agent_names())
            events.append(Begun(account, random.random(), agents))  # noqa: S311 (spreads starts, keeps no secret)
        self._change(*events)
        known = self._state.get(account)
        is_trial = known is not None and known.asked
        self._trial = (str(account), claim.started_at, time.monotonic()) if is_trial else None
        return claim

    # --- what is passed over --------------------------------------------------------------------------

    def _unusable(self, item_id: str, read: Callable[[], Item | None]) -> bool:
        """Whether the item cannot be begun for the sake of an account or of a session."""
        if self._sessions.waits_for_another(item_id, self._state):
            return True
        return bool(self._state.accounts) and not self._has_program(item_id, read)

    def _has_program(self, item_id: str, read: Callable[[], Item | None]) -> bool:
        """Whether there is a program for the item whose account can be used; if another than its own, choose that."""
        plan = self._plans.get(item_id)
        if plan is None:
            item = read()
            if item is None:
                return True
            plan = self._plans[item_id] = self._plan(item)
        if self._can_use(plan.account):
            return True
        is_long = is_parked(self._state.get(plan.account), self._policy, self._project.queue.now())
        if plan.fallback is None or not is_long or not self._can_use(plan.fallback_account):
            return False
        self._chosen[item_id] = plan.fallback
        return True

    def _plan(self, item: Item) -> Plan:
        config = self._project.config
        other = fallback_of(item, config)
        account = account_of(program_of(item, config), config)
        return Plan(account, other, None if other is None else account_of(other, config))

    def _can_use(self, account: str | None) -> bool:
        known = self._state.get(account)
        if account is None or known is None:
            return True
        if account not in self._may_begin:
            if self._in_use is None and known.cap is not None:
                self._in_use = self._file.in_use()
            in_use = 0 if self._in_use is None else self._in_use[account]
            now = self._project.queue.now()
            self._may_begin[account] = not self._is_locked_out and may_begin(known, self._policy, now, in_use)
        return self._may_begin[account]

    # --- ending ---------------------------------------------------------------------------------------

    def settle(self, claim: Claim, record: Record | None, evidence: Evidence) -> Record | None:
        """Note what the attempt says about its account; return the record that is to end it."""
        config = self._project.config
        program = program_of(claim.item, config)
        account = account_of(program, config)
        if record is None or account is None:
            return record
        state = self._file.look()
        event = event_of(account, program, config, record, evidence, self._project.queue.now)
        if isinstance(event, Busy):
            event = event._replace(in_use=self._file.in_use()[account])
        events: list[Event] = []
        if isinstance(event, (Limited, Busy, Refused)) or state.get(account) is not None:
            events.append(event)
        if record.session and record.kind in {"released", "waiting"} and goes_on_only_there(record, program, config):
            events.append(SessionKept(claim.item.id, self._agent, account))
        is_known = self._change(*events)
        if is_known and not record.counted and isinstance(event, (Limited, Busy, Refused)):
            return msgspec.structs.replace(record, not_before=None)  # the account says when
        return record

    def keep_session(self, item_id: str) -> None:
        """Have an item whose worker was killed at our place wait for us, if its session goes on nowhere else."""
        with contextlib.suppress(Unreadable, OSError):
            entry, config = self._project.queue.entry(item_id), self._project.config
            if entry is None or entry.last is None or (entry.last.outcome, entry.last.agent) != ("died", self._agent):
                return
            resumed = resumption(entry, self._project, self._agent)
            program = program_of(entry.item, config)
            account = account_of(program, config)
            if resumed is not None and account is not None and is_bound_to_its_place(program, config):
                self._change(SessionKept(item_id, self._agent, account))

    def note_lasting(self) -> None:
        """Tell, if the attempt in hand is a trial, when it has worked for longer than who is not let in does."""
        if self._trial is not None:
            account, begun, since = self._trial
            if time.monotonic() - since > _LASTING_SECONDS:
                self._change(Succeeded(account, begun))
                self._trial = None

    def _change(self, *events: Event) -> bool:
        """Return whether it could be written down; if not, the next attempt says it again."""
        if not events:
            return True
        with contextlib.suppress(OSError):
            self._file.change(*events)
            return True
        return False


def _either(first: PassesOver, second: PassesOver | None) -> PassesOver:
    if second is None:
        return first
    return lambda item_id, read: first(item_id, read) or second(item_id, read)
