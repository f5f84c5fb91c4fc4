"""What needs a person, in the order in which it is best looked at, each with the one command to run next.

First what keeps everything from going on, then who was asked something, then what failed, then damage, then what merely
waits for one of those, and last what was left on its branch as configured.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from ..harness.accounts.standing import Account
from ..harness.configuration.wording import in_utf8
from ..harness.pausing.pause_file import is_for_money, what, why
from ..harness.pausing.pauses import Trouble
from ..harness.shortage import Lack
from ..queue.folders import Damage
from ..queue.records import Entry, State
from ..queue.requests import is_done_without, is_review, is_unlanded, reason
from ..queue.survey import Survey
from ..worktrees.quarantine import Call
from .drawing.moments import clock
from .snapshot import AgentStatus, Attention
from .target_report import TargetReport

_MOST = 50
_CUT_SHORT = {"died", "interrupted", "limited", "timed-out"}


def attention(
    entries: Sequence[tuple[Entry, State]],
    survey: Survey,
    agents: Iterable[AgentStatus],
    target: TargetReport | None,
    calls: Iterable[Attention] = (),
    lack: Lack | None = None,
) -> tuple[Attention, ...]:
    """Return what needs a person, the most urgent first; `calls` are those of the coordinator itself."""
    agents = tuple(agents)
    found = [
        *calls,
        *_want_of_room(agents, lack),
        *_obstacles(agents, target),
        *(_question(entry) for entry, state in entries if state == "waiting" and not is_unlanded(entry)),
        *(_failure(entry) for entry, state in entries if state == "failed"),
        *(_damage(damage) for damage in survey.damage),
        *_waiting_for_good([entry for entry, state in entries if state == "blocked"], survey),
        *_unlanded(entries),
    ]
    if len(found) > _MOST:
        rest = Attention(item=None, why=f"and {len(found) - _MOST + 1} more", next="parallel-loop list")
        return (*found[: _MOST - 1], rest)
    return tuple(found)


def _want_of_room(agents: Iterable[AgentStatus], lack: Lack | None) -> Iterator[Attention]:
    """Yield what is lacking: on the machine, and what single processes lack besides: by its remedy, each once."""
    wants: dict[str, str] = {} if lack is None else {lack.next: lack.why}
    names: dict[str, list[str]] = {}
    for agent in agents:
        if agent.health == "no-room" and agent.note and agent.next and (lack is None or agent.next != lack.next):
            wants.setdefault(agent.next, agent.note)
            names.setdefault(agent.next, []).append(agent.name)
    for remedy, want in wants.items():
        who = f"{', '.join(names[remedy])}: " if remedy in names else ""
        said = f"{who}{want}; meanwhile nothing new is begun, and it goes on by itself when that is over"
        yield Attention(item=None, why=said, next=remedy)


def _obstacles(agents: Iterable[AgentStatus], target: TargetReport | None) -> Iterator[Attention]:
    if target is not None and target.blocked:
        yield Attention(item=None, why=f"{target.name} does not follow: {target.blocked}", next=target.next)
    if target is not None and target.remote is not None and target.remote.blocked:
        yield Attention(item=None, why=f"{target.remote.blocked}; landing goes on here", next=target.remote.next)
    for agent in agents:
        if agent.health == "failing":
            yield Attention(
                item=None,
                why=f"{agent.name} was given up: {agent.note or 'its workers died too often'}",
                next=f"parallel-loop logs {agent.name} --worker",
                lines=agent.last_lines,
            )


def paused(pause: Trouble, now: str) -> Attention:
    """Say which program is paused, why, and what to do."""
    if is_for_money(pause):
        said = f"{why(pause)}: {what(pause)} waits. Allow more with a higher `budget: run:`, or begin another run"
        return Attention(item=None, why=said, next="parallel-loop restart")
    trial = f"the next trial is at {clock(pause.until)[:5]}"
    if pause.is_due(now):
        trial = "the next of its items that can be taken is a trial"
    elif pause.trial:
        trial = "a trial is under way"
    said = f"{what(pause)} is paused ({trial}): {why(pause)}. Its items stay ready; mend it, then let it go on"
    return Attention(item=None, why=said, next=f"parallel-loop resume {pause.last.program}")


def shut(account: Account, now: str) -> Attention:
    """Say which account needs a person, and for what."""
    if account.standing == "refused":
        said = f"the account {account.name} is refused, so {account.program} starts nothing: {account.why}"
        said += ". Log in, then let it go on"
    else:
        is_over = account.until is not None and account.until <= now
        over = f"over {'since' if is_over else 'at'} {clock(account.until)[:5]}" if account.until else "over some time"
        was = "was" if is_over else "is"
        said = f"the account {account.name} {was} at its limit ({over}; `after_limit: auto` is false): {account.why}"
        said += ". Let it go on" if is_over else ". Wait, then let it go on"
    return Attention(item=None, why=said, next=f"parallel-loop resume {account.name}")


def shared(call: Call) -> Attention:
    """Say what a program did to what all worktrees share."""
    return Attention(item=None, why=call.why, next=f"cat {shlex.quote(in_utf8(str(call.note)))}")


def _question(entry: Entry) -> Attention:
    item_id, why = entry.item.id, _why(entry)
    if is_review(entry):
        also = "then `approve` or `reject` it"
        return Attention(item=item_id, why=f"{why}; {also}" if why else also, next=f"parallel-loop diff {item_id}")
    if is_done_without(entry):
        why = f"{why.rstrip('.')}; or `diff` shows, and `approve` lands, what it did without that"
    return Attention(item=item_id, why=why, next=f"parallel-loop answer {item_id} TEXT")


def _unlanded(entries: Iterable[tuple[Entry, State]]) -> Iterator[Attention]:
    """Yield once what was left on its branch, as configured, and who waits for it."""
    entries = list(entries)
    left = [entry.item.id for entry, state in entries if is_unlanded(entry)]
    if not left:
        return
    blocked = (entry for entry, state in entries if state == "blocked")
    waiting = sum(not set(left).isdisjoint(entry.item.after) for entry in blocked)
    count = "1 item waits" if waiting == 1 else f"{waiting} items wait"
    also = f"; {count} for {'it' if len(left) == 1 else 'them'} to land" if waiting else ""
    if len(left) == 1:
        yield Attention(item=left[0], why=f"is on its branch, not landed{also}", next=f"parallel-loop land {left[0]}")
    else:
        why = f"{len(left)} items are on their branches, not landed{also}"
        yield Attention(item=None, why=why, next="parallel-loop land")


def _failure(entry: Entry) -> Attention:
    """Who was killed or cut short may do better the next time; else one has to look at what went wrong first.

    Of a limit, what was said names the key and the figure: there is nothing more to look at.
    """
    item_id, outcome = entry.item.id, entry.last.outcome if entry.last is not None else None
    if outcome == "over-limit":
        why = f"{_why(entry)}; raise that, or have it need less, then try again"
        return Attention(item=item_id, why=why, next=f"parallel-loop retry {item_id}")
    command = "retry" if outcome in _CUT_SHORT else "show"
    return Attention(item=item_id, why=_why(entry), next=f"parallel-loop {command} {item_id}")


def _damage(damage: Damage) -> Attention:
    """A retry would help nobody: nothing can be done to an item that cannot be read."""
    return Attention(item=damage.item, why=f"{in_utf8(damage.path)}: {damage.problem}", next="parallel-loop doctor")


def _waiting_for_good(blocked: Iterable[Entry], survey: Survey) -> Iterator[Attention]:
    """Yield the items without which others cannot go on: each once, with how many wait for it."""
    waiting: dict[str, list[str]] = {}
    for entry in blocked:
        for dependency in dict.fromkeys(entry.item.after):
            waiting.setdefault(dependency, []).append(entry.item.id)
    damaged = {damage.item for damage in survey.damage}
    for dependency, ids in waiting.items():
        other = survey.get(dependency)
        ended = None if other is None or other.last is None else other.last.kind
        if ended in {"failed", "cancelled"}:
            command = f"parallel-loop {'show' if ended == 'failed' else 'retry'} {dependency}"
            yield _waiting(ids, dependency, str(ended), command)
        elif dependency in damaged:
            yield _waiting(ids, dependency, "damaged", "parallel-loop doctor")


def _waiting(ids: Sequence[str], dependency: str, state: str, command: str) -> Attention:
    if len(ids) == 1:
        return Attention(item=ids[0], why=f"waits for {dependency}, which is {state}", next=command)
    return Attention(item=dependency, why=f"is {state}, and {len(ids)} items wait for it", next=command)


def _why(entry: Entry) -> str:
    return reason(entry) or ""
