"""What an error is: by its HTTP status and its names where it has any, and as a last resort by its words.

Only for what is known to be an error: a model's prose and the output of tools speak of everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from .events import Fault, Kind, brief
from .fields import moment, number, record, records, text, whole
from .reset_times import duration, reset_time, retry_after
from .vocabulary import NAMES, NO_QUOTA, STATUS_IN_WORDS, WORDS

_LONGEST_TEXT = 4000
_LONGEST_JSON = 100_000
_LONGEST_WAIT = 366 * 86400.0
_SOON_SECONDS = 120.0  # a quota that is there again after that is one of requests a minute
_STATUS: dict[int, Kind] = {401: "auth", 402: "usage", 403: "auth", 407: "auth", 408: "network", 413: "context"}
_STATUS |= {429: "rate", 503: "overload", 529: "overload"}

# What a name says in general, words say better: a 429 may be a quota, a bad request a prompt that is too long.
_GENERAL = {"rate", "server", "overload", "auth"}
_BETTER: dict[Kind, frozenset[Kind]] = {
    "rate": frozenset({"usage", "overload", "context"}),
    "server": frozenset({"overload", "context", "network", "usage", "auth"}),
    "overload": frozenset({"usage"}),
    "auth": frozenset({"usage", "rate"}),
}
# What a status that may mean many things does not mean: there was an answer, so the network is well.
_NOT: dict[int, frozenset[Kind]] = {404: frozenset({"network", "auth"})}
_NOT_BY_ANSWER: frozenset[Kind] = frozenset({"network"})


def kind_of_name(name: str) -> Kind | None:
    """Return what an error of that type or code is: `rate_limit_error`, `RateLimitError`, `RESOURCE_EXHAUSTED`."""
    letters = re.sub(r"[^a-z]", "", name[:200].rpartition(".")[2].lower())
    return NAMES.get(letters) or NAMES.get(re.sub(r"(?:error|exception)$", "", letters))


def kind_of_status(status: int | None) -> Kind | None:
    """Return what the HTTP status means; None if there is none, or if it may mean anything."""
    if status is None:
        return None
    return _STATUS.get(status) or ("server" if 500 <= status < 600 else None)


def kind_of_words(words: str) -> Kind:
    """Return what an error message speaks of, `other` if of nothing that is known."""
    words = NO_QUOTA.sub(" ", words[:_LONGEST_TEXT].lower().replace("’", "'"))  # noqa: RUF001 (as they are printed)
    found = next((kind for kind, pattern in WORDS if pattern.search(words)), None)
    told = STATUS_IN_WORDS.search(words)
    if found is None or told is None or found in {"usage", "context"}:
        return found or (kind_of_status(int(told[1])) if told else None) or "other"
    return _by_status(int(told[1]), found)


def _by_status(status: int, said: Kind) -> Kind:
    """Return what an error is by its HTTP status, or by what was said where that says it better."""
    general = kind_of_status(status)
    if general is None:
        return "other" if said in _NOT.get(status, _NOT_BY_ANSWER) else said
    return said if said in _BETTER.get(general, ()) else general


def kind_of_error(words: str, status: int | None = None, names: Iterable[str] = ()) -> Kind:
    """Return what an error is by all that is known of it, the most exact first."""
    named = [kind for kind in map(kind_of_name, names) if kind is not None]
    exact = next((kind for kind in named if kind not in _GENERAL), None)
    if exact is not None:
        return exact
    by_name = (kind for kind in named if status is None or kind != "server")  # as they call errors of any status
    general = kind_of_status(status) or next(by_name, None)
    if general is None:
        said = kind_of_words(words)
        return said if status is None else _by_status(status, said)
    return next((kind for kind in (*named, kind_of_words(words)) if kind in _BETTER.get(general, ())), general)


@dataclass(frozen=True)
class _Told:
    """What is in JSON within words: services answer with it, and programs pass it on."""

    words: str
    status: int | None = None
    names: tuple[str, ...] = ()
    resets_at: float | None = None
    retry: object = None


def fault_of(
    words: str,
    now: float,
    *,
    status: int | None = None,
    names: Iterable[str] = (),
    retry: object = None,
    body: str = "",
) -> Fault:
    """Return the error that a program speaks of. JSON in `words`, or in `body`, counts like fields of their own.

    `retry` is an HTTP `retry-after`, `body` what the service answered.
    """
    told, answer = _unfold(words, now), _unfold(body, now)
    status = status or told.status or answer.status
    names = [*names, *told.names, *answer.names]
    kind = kind_of_error(told.words, status, names)
    after = next((each for each in (retry, answer.retry, told.retry) if each is not None), None)
    seconds = retry_after(after, now) if after is not None else duration(told.words)
    if kind == "usage" and seconds is not None and seconds <= _SOON_SECONDS and kind_of_error("", None, names) != kind:
        kind = "rate"
    resets_at = None
    if kind == "usage":
        resets_at = told.resets_at or answer.resets_at or reset_time(told.words, now)
        if resets_at is None and seconds is not None:
            resets_at = now + seconds
    return Fault(kind=kind, text=brief(told.words.strip() or words), resets_at=resets_at, retry_seconds=seconds)


def _unfold(words: str, now: float) -> _Told:
    start, end = words.find("{"), words.rfind("}")
    if start < 0 or end <= start or len(words) > _LONGEST_JSON:
        return _Told(words)
    try:
        found = record(msgspec.json.decode(words[start : end + 1]))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return _Told(words)
    inner = record(found.get("error")) or found
    names = tuple(name for key in ("code", "type", "status", "name") if (name := text(inner.get(key))))
    until, wait = moment(inner.get("resets_at")), number(inner.get("resets_in_seconds"))
    if until is None or not now < until < now + _LONGEST_WAIT:
        until = now + wait if wait is not None and 0 < wait < _LONGEST_WAIT else None
    return _Told(
        words=f"{words[:start]}{text(inner.get('message'))}{words[end + 1 :]}",
        status=next((code for code in (whole(inner.get("code")), whole(found.get("status"))) if code), None),
        names=names,
        resets_at=until,
        retry=next((delay for each in records(inner.get("details")) if (delay := _delay(each)) is not None), None),
    )


def _delay(detail: Mapping[str, Any]) -> float | None:
    """Return the seconds of a google.rpc.RetryInfo, which are written like `3.5s`."""
    told = text(detail.get("retryDelay"))
    try:
        return float(told.removesuffix("s")) if told else None
    except ValueError:
        return None
