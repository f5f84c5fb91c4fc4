"""What an attempt says about the account that it used: from its record and the evidence to what happened.

That all of a quota is used, as a program says on its way, parks nothing: some go on beyond it, at another price. The
next start finds it out within a second, at no cost of an attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from ...queue.clock import seconds_until, to_datetime, to_text
from ...queue.records import Record
from ..configuration.config import Config
from ..outcome import OUTCOMES, Evidence
from ..pausing.pause_file import configuration_of
from .events import Busy, Inconclusive, Limited, Refused, Succeeded

_LIMITED, _REFUSED = OUTCOMES["usage"], OUTCOMES["auth"]
_BUSY = {OUTCOMES["rate"], OUTCOMES["overload"]}
_ENDED_WELL = {"landing", "done", "waiting"}


def event_of(
    account: str, program: str, config: Config, record: Record, evidence: Evidence, now: Callable[[], str]
) -> Limited | Busy | Refused | Succeeded | Inconclusive:
    """Return what happened to `account`, by the attempt at `program` that `record` is to end."""
    begun, why = evidence.started_at, record.why or ""
    if record.outcome in _BUSY:
        return Busy(account, begun, why, 1, _retry_seconds(evidence, now()), _chance())
    if record.outcome == _REFUSED:
        return Refused(account, begun, why, program, configuration_of(program, config))
    if record.outcome == _LIMITED:
        return Limited(account, begun, why, _reset(evidence), _window(evidence), _chance())
    has_answered = evidence.story is not None and evidence.story.steps > 0
    return Succeeded(account, begun) if record.kind in _ENDED_WELL or has_answered else Inconclusive(account)


def _reset(evidence: Evidence) -> str | None:
    """Return when the limit is over, however that was told."""
    finding = evidence.finding
    if finding is None:
        return None
    if finding.resets_at is None and finding.retry_seconds is not None:
        return recorded(to_datetime(evidence.at).timestamp() + finding.retry_seconds)
    return recorded(finding.resets_at)


def _window(evidence: Evidence) -> str:
    quota = evidence.story.quota if evidence.story is not None else None
    return quota.window if quota is not None else ""


def _chance() -> float:
    return random.random()  # noqa: S311 (it spreads starts, and keeps no secret)


def recorded(epoch: float | None) -> str | None:
    """Return seconds since 1970 as a recorded time; None where that is none."""
    try:
        return None if epoch is None else to_text(datetime.fromtimestamp(epoch, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def _retry_seconds(evidence: Evidence, now: str) -> float | None:
    """Return in how many seconds it may be tried again, however that was told."""
    finding = evidence.finding
    if finding is None:
        return None
    if finding.retry_seconds is not None:
        return finding.retry_seconds
    told = recorded(finding.resets_at)
    return None if told is None else seconds_until(told, now)
