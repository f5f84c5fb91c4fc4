"""Items as other programs see them: what `list --json` and `show --json` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ...queue.records import ENDED, Entry, Record, State, Usage
from ...queue.requests import reason


class ItemRow(msgspec.Struct, frozen=True, kw_only=True):
    """One item. `agent`, `branch` and `commit` are of its latest attempt; `why` is the reason for its state."""

    id: str
    title: str
    state: State
    priority: int
    role: str | None
    program: str | None
    after: tuple[str, ...]
    attempts: int
    agent: str | None
    branch: str | None
    commit: str | None
    added_at: str
    ended_at: str | None
    why: str | None


class HistoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One record of an item's chain.

    `attempt` is None before the first claim. `at` is when an attempt began, not what a claim holds in the queue: that
    is the time at which the worker registered, which may be hours before. It is None until the worktree is prepared.
    """

    attempt: int | None
    event: str
    at: str | None
    agent: str | None
    outcome: str | None
    why: str | None
    seconds: float | None
    branch: str | None
    commit: str | None
    log: str | None
    not_before: str | None
    program: str | None = None
    session: str | None = None  # the program's own name for it
    usage: Usage | None = None  # of the attempt, beside the record that ended it
    counted: bool = True  # whether it costs one of the item's attempts


class ItemDetails(ItemRow, frozen=True, kw_only=True):
    """One item with its whole history, the oldest event first, and what is to be done."""

    prompt: str
    command: str | None
    paths: tuple[str, ...]
    timeout_seconds: float | None
    max_attempts: int | None
    history: tuple[HistoryEvent, ...]


def item_row(entry: Entry, state: State, waits_for: Sequence[str] = ()) -> ItemRow:
    """Describe `entry`; `waits_for` are those of its dependencies that are not done, when that is known, or what else
    keeps it from being begun though it is ready.
    """
    item, last = entry.item, entry.last
    why = reason(entry)
    if state in {"blocked", "ready"} and waits_for:
        why = "waits for " + ", ".join(waits_for)
    attempt = _latest_attempt(entry.records)
    return ItemRow(
        id=item.id,
        title=item.title,
        state=state,
        priority=item.priority,
        role=item.role,
        program=item.program,
        after=item.after,
        attempts=entry.attempts,
        agent=_last_known(attempt, "agent"),
        branch=_last_known(attempt, "branch"),
        commit=_last_known(attempt, "commit"),
        added_at=item.added_at,
        ended_at=last.at if last is not None and last.kind in ENDED else None,
        why=why,
    )


class InHand(NamedTuple):
    """What the queue does not say of an attempt that has not ended: since when it is made, and where its log is."""

    started_at: str | None
    log: str


def item_details(
    entry: Entry, state: State, waits_for: Sequence[str] = (), in_hand: InHand | None = None
) -> ItemDetails:
    """Describe `entry` with its whole history; `in_hand` is of the attempt that is being made, if one is."""
    row = msgspec.structs.asdict(item_row(entry, state, waits_for))
    item = entry.item
    return ItemDetails(
        **row,
        prompt=item.prompt,
        command=item.command,
        paths=item.paths,
        timeout_seconds=item.timeout_seconds,
        max_attempts=item.max_attempts,
        history=tuple(_history(entry.records, in_hand)),
    )


def _latest_attempt(records: Sequence[Record]) -> Sequence[Record]:
    claims = [index for index, record in enumerate(records) if record.kind == "claimed"]
    return records[claims[-1] :] if claims else records


def _last_known(records: Sequence[Record], name: str) -> str | None:
    """Return the newest value; a later record (an answer, a cancellation) need not repeat what an earlier one says."""
    known = (getattr(record, name) for record in reversed(records))
    return next((value for value in known if value is not None), None)


def _history(records: Sequence[Record], in_hand: InHand | None) -> list[HistoryEvent]:
    history: list[HistoryEvent] = []
    attempt = 0
    for index, record in enumerate(records):
        attempt += record.kind == "claimed"
        following = records[index + 1] if index + 1 < len(records) else None
        at: str | None = record.at
        log = record.log
        if record.kind == "claimed" and following is not None:
            at = following.started_at
        elif record.kind == "claimed":
            at, log = in_hand or (None, None)
        history.append(
            HistoryEvent(
                attempt=attempt or None,
                event=record.kind,
                at=at,
                agent=record.agent,
                outcome=record.outcome,
                why=record.text if record.kind == "answered" else record.why,
                seconds=record.seconds,
                branch=record.branch,
                commit=record.commit,
                log=log,
                not_before=record.not_before,
                program=record.program,
                session=record.session,
                usage=record.usage if index and records[index - 1].kind == "claimed" else None,
                counted=record.counted,
            )
        )
    return history
