"""What a program's story came to, when it has ended: pure functions.

An exit code of 0 is no success: programs that were denied what they needed, or whose model could not be reached, end
so. And one that is not 0 says less than what the program said before. What it left in the repository, and whether the
checks pass, is for others to weigh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .dialect import Dialect
from .events import Kind
from .story import CIRCLES, Story

Word = Kind | Literal["refused", "no-result"]

_WHY: dict[Kind, str] = {
    "usage": "what the account may use is used up",
    "rate": "too many requests just now",
    "overload": "the model's service is busy",
    "auth": "the model's service does not let it in",
    "context": "the session has grown longer than the model can read",
    "network": "the model's service could not be reached",
    "server": "the model's service made a mistake",
    "denied": "it was not allowed what it wanted to do",
    "budget": "what it may cost is spent",
    "turns": "it took as many steps as it may",
    "loop": "it did the same over and over",
    "other": "it failed",
}
# Who ended well has what it wanted of the service, whatever was said of it before, or after that on standard error.
_OF_THE_SERVICE = {"usage", "rate", "overload", "auth", "network", "server", "other"}
_BY_SIGNAL = {129, 130, 131, 137, 143}  # as programs end that were told to, and shells whose command was killed


@dataclass(frozen=True)
class Finding:
    """Why a program did not do what it was to do: a word, a line for people, and when it may be tried again.

    `resets_at` is in seconds since 1970.
    """

    word: Word
    why: str
    resets_at: float | None = None
    retry_seconds: float | None = None


def outcome_word(story: Story, dialect: Dialect, exit_code: int | None) -> str:
    """Return what the run came to in one word: that of what was found, `done`, or `failed` if only that is known."""
    finding = find(story, dialect, exit_code)
    if finding is None:
        return "done" if exit_code in {0, None} or told_well(story, exit_code) else "failed"
    return "failed" if finding.word == "other" else finding.word


def told_well(story: Story, exit_code: int | None) -> bool:
    """Whether it said that it ended well, and ended by itself: then its exit code is of something that it overcame."""
    return story.result is not None and story.result.ok and exit_code is not None and 0 <= exit_code < 128


def find(story: Story, dialect: Dialect, exit_code: int | None) -> Finding | None:
    """Return what is wrong by what the program told; None when nothing is, or when only its exit code says so.

    `exit_code` is negative for a signal, None where it is not known.
    """
    told = dialect.exit_kinds.get(exit_code or 0)
    fault, result = story.fault, story.result
    if fault is not None and not (result is not None and result.ok and fault.kind in _OF_THE_SERVICE):
        kind = fault.kind if fault.kind != "other" else told or _gave_up(story) or "other"
        return Finding(kind, _line(fault.text, _WHY[kind]), fault.resets_at, fault.retry_seconds)
    if told is not None and (result is None or not result.ok):
        return Finding(told, _WHY[told])
    if result is not None and not result.ok:
        return Finding("other", _line(result.text, "it said that it failed"))
    if result is None and (dialect.has_result or story.trouble is not None):
        return _without_result(story, exit_code)
    return _against_success(story, dialect)


def _gave_up(story: Story) -> Kind | None:
    """Return what it waited for in vain; that it connects again it says whatever the reason."""
    return story.waits.kind if story.waits is not None and story.waits.kind != "network" else None


def _against_success(story: Story, dialect: Dialect) -> Finding | None:
    """Return what speaks against a program that says that it ended well, None when nothing does."""
    if dialect.has_last_words and not story.has_answer:
        return Finding("network", "it ended as if all were well, but the model's answer did not come")
    if story.denied:
        tools = ", ".join(dict.fromkeys(denied.tool for denied in story.denied))
        return Finding("denied", _line(story.denied[0].text, f"it was not allowed to use {tools}"))
    return None


def _without_result(story: Story, exit_code: int | None) -> Finding:
    """Return why there is no result: what it did all the time, or what it waited for when it was ended."""
    code = "" if exit_code is None else f" with exit code {exit_code}" if exit_code >= 0 else f" by signal {-exit_code}"
    if story.trouble is not None:
        return Finding("context" if story.trouble == "context-faults" else "loop", CIRCLES[story.trouble])
    if story.waits is not None and story.waits.kind != "other":
        why = _line(story.waits.text, f"it ended{code} while it waited, as {_WHY[story.waits.kind]}")
        return Finding(story.waits.kind, why, retry_seconds=story.waits.seconds)
    if not story.events and exit_code is not None and exit_code > 0 and exit_code not in _BY_SIGNAL:
        return Finding("refused", f"it ended{code} before it said anything; see its log")
    return Finding("no-result", f"it ended{code} without saying what came of it")


def _line(words: str, otherwise: str) -> str:
    """Return the first line of what was said, after what that means."""
    first = next((line.strip() for line in words.splitlines() if line.strip()), "")
    return f"{otherwise}: {first[:300]}" if first else otherwise
