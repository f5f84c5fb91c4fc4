"""Programs that print text: aider, and any that nobody here knows.

Only lines that are errors count, by their form: what a model says, and what its tools print, speaks of errors too. That
it answered, as aider's count of tokens shows, means that what was wrong before is over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .dialect import Dialect, Object
from .events import AnyEvent, Fault, Said, Step, Used, Waits, Warned, brief
from .fields import record, text
from .words import fault_of, kind_of_name

# litellm's, as in `litellm.RateLimitError: …`, and those of the services' own libraries.
_LIBRARY = re.compile(r"(?:litellm|openai|anthropic|google\.[a-z_.]+)\.(?:\w+\.)*(\w+(?:Error|Exception)|\w+): (.*)")
_STATUS = re.compile(r"(?:API Error|Error code)\b:? ?\(?(\d{3})?\b(.*)")
_AGAIN = re.compile(r"Retrying in (\d+(?:\.\d+)?) seconds")
_ANSWERED = re.compile(r"Tokens: (\S+) sent,(?: (\S+) cache \w+,)* (\S+) received\.(?:.*?Cost: \$(\d+\.\d+) message)?")
_TOO_LONG = re.compile(r"Your estimated chat context of .* exceeds the|Model \S+ has hit a token limit!")
_FIRST = set("agloAERTYM")  # letters that one of these can begin with: most lines are read no further


def words(line: str, now: float) -> Iterable[AnyEvent]:
    """Return what a line means, if it means anything."""
    return _words(line, now) if line[:1] in _FIRST else ()


def _words(line: str, now: float) -> Iterator[AnyEvent]:
    if found := _LIBRARY.match(line):
        if found[1].endswith(("Error", "Exception")) or kind_of_name(found[1]):
            yield fault_of(line, now, names=[found[1]])
    elif found := _STATUS.match(line):
        fault = fault_of(found[2], now, status=int(found[1] or 0) or None)
        yield fault if fault.kind != "other" else Warned(text=brief(line))
    elif found := _AGAIN.match(line):
        yield Waits(kind="other", seconds=float(found[1]), text=line[:100])
    elif found := _ANSWERED.match(line):
        yield Step()
        usd = float(found[4]) if found[4] else None
        yield Used(input=_tokens(found[1]), output=_tokens(found[3]), usd=usd)
    elif _TOO_LONG.match(line):
        yield Fault(kind="context", text=brief(line))


def _tokens(told: str) -> int:
    """Return the number that aider writes as 950, 1.5k or 2M."""
    factor = {"k": 1e3, "M": 1e6}.get(told[-1:], 1.0)
    return int(float(told.rstrip("kM").replace(",", "")) * factor)


def _objects(line: Object, now: float) -> Iterator[AnyEvent]:
    """Of programs that print JSON of their own: errors that call themselves so, and messages of the model."""
    kind, content = line.get("type"), text(line.get("content"))
    if kind == "error":
        error = line.get("error")
        inner = record(error) or line
        message = text(inner.get("message")) or text(error) or text(line.get("text"))
        yield fault_of(message, now, names=[text(inner.get(key)) for key in ("code", "type", "name")])
    elif kind in {"message", "assistant"} and content:
        yield Said(text=brief(content))


TEXT = Dialect("text", objects=_objects, words=words, has_result=False)
