"""What ready items wait for though the queue hinders none of them: paused programs, and accounts that are not open."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..harness.accounts.account_file import AccountFile, account_of, fallback_of, policy_of
from ..harness.accounts.standing import opens_at
from ..harness.pausing.pause_file import PauseFile, is_for_money, key_of, what, why
from ..harness.programs import program_of
from ..harness.project import Project
from ..queue.records import Item
from .drawing.moments import clock


def held_up(project: Project) -> Callable[[Item], list[str]]:
    """Return what names the pauses and accounts that a ready item waits for, none when it can be begun in some way.

    It goes by what is known now, of however many items it is asked about.
    """
    config = project.config
    paused = {
        key: f"another run, as {why(pause)}" if is_for_money(pause) else f"{what(pause)}, which is paused"
        for key, pause in PauseFile(project).in_force().items()
        if not pause.trial
    }
    parked = dict(_parked(project))

    def waits_for(item: Item) -> list[str]:
        own, other = program_of(item, config), fallback_of(item, config)
        ways = [(key_of(item, config), own), *([(other, other)] if other is not None else [])]
        found = [paused.get(key) or parked.get(account_of(program, config) or "") for key, program in ways]
        return list(dict.fromkeys(filter(None, found))) if all(found) else []

    return waits_for if paused or parked else lambda _item: []


def _parked(project: Project) -> Iterator[tuple[str, str]]:
    policy, now = policy_of(project.config), project.queue.now()
    for account in AccountFile(project).look().accounts:
        moment = opens_at(account, policy)
        if account.standing != "open" and (moment is None or moment > now):
            until = f", until {clock(moment)}" if moment is not None else ", which needs you"
            yield account.name, f"the account {account.name}{until}"
