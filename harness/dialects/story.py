"""What a program has said so far, as far as something follows from it.

Guarantees: bounded, whatever the program says and for however long. Nothing here knows of a particular program.

Times are `at` of the events: seconds since the program was started.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from msgspec import structs

from ...queue.records import Usage
from .events import (
    MOST_TEXT,
    AnyEvent,
    Denied,
    Fault,
    Kind,
    Quota,
    Result,
    Said,
    Scope,
    Session,
    Step,
    ToolBegun,
    ToolEnded,
    Used,
    Waits,
    dollars,
    is_session_name,
)

_IN_GENERAL: dict[Kind, set[Kind]] = {  # how what was said exactly may be said once more
    "usage": {"rate", "overload", "other"},
    "network": {"server", "other"},
}
_MOST_DENIED = 20
_MOST_OPEN_TOOLS = 1000
SAME_CALLS = 6  # with the same result, one after the other: then it will go on like that
TURNS_OF_TWO = 6  # of two calls that follow each other
FAILING_CALLS = 4  # of the same call with nothing else between them, whatever they say
SLOW_SECONDS = 5.0  # a call that takes so long is none that is repeated without end
STEPS_A_MINUTE = 100  # more than a model can think about
CONTEXT_FAULTS = 3

Trouble = Literal["same-call", "two-calls", "failing-call", "too-fast", "context-faults"]


CIRCLES: dict[Trouble, str] = {
    "same-call": f"it called the same tool with the same result {SAME_CALLS} times",
    "two-calls": f"it called the same two tools in turn with the same results, {TURNS_OF_TWO} times each",
    "failing-call": f"the same call of a tool failed {FAILING_CALLS} times, one after the other",
    "too-fast": f"it asked the model {STEPS_A_MINUTE} times within a minute",
    "context-faults": f"its session was too long for the model {CONTEXT_FAULTS} times",
}


@dataclass
class Story:
    """The story of one run. `take` adds an event to it."""

    session: str | None = None
    model: str | None = None
    said: str = ""
    events: int = 0
    steps: int = 0
    tools: int = 0
    result: Result | None = None
    fault: Fault | None = None  # the last that no answer has followed
    denied: list[Denied] = field(default_factory=list)
    has_answer: bool = False  # the model spoke after the last tool
    quota: Quota | None = None
    waits: Waits | None = None  # as long as nothing has followed
    waits_since: float = 0.0
    open_tools: dict[str, tuple[ToolBegun, float]] = field(default_factory=dict)
    _calls: deque[int] = field(default_factory=lambda: deque(maxlen=2 * TURNS_OF_TWO))
    _failing: tuple[int, int] = (0, 0)  # a call, and how often it failed one after the other
    _steps_at: deque[float] = field(default_factory=lambda: deque(maxlen=STEPS_A_MINUTE))
    _context_faults: int = 0
    _used: dict[str, Usage] = field(default_factory=dict)
    _step: str = ""
    _last_step: tuple[str, Usage, Usage] = ("", Usage(), Usage())  # its id, what was used before it, and what in it
    _saying: bool = False

    def take(self, event: AnyEvent) -> None:
        """Take in what was said next."""
        self.events += 1
        gave_up = isinstance(event, Result) and not event.ok
        if not gave_up and not isinstance(event, (Waits, Quota, Fault, Used)):
            self.waits = None
        match event:
            case Session() | Said() | Step() | Result():
                self._note_words(event)
            case ToolBegun(id=name, at=at) if len(self.open_tools) < _MOST_OPEN_TOOLS:
                self.tools += 1
                self.open_tools[name] = (event, at)
            case ToolEnded():
                self._note_call(event)
            case Waits(at=at):
                vague = event.kind == "other" and self.waits is not None  # the second line on the same wait
                kind = self.waits.kind if vague and self.waits is not None else event.kind
                self.waits, self.waits_since = structs.replace(event, kind=kind), at
            case Quota():
                self.quota = event
            case Denied():
                self._note_denied(event)
            case Fault(kind=kind):
                self.fault = self._worse(event)
                self._context_faults += kind == "context"
            case Used(scope=scope):
                self._note_use(event, scope)
            case _:
                pass
        self._saying = isinstance(event, Said)

    def _note_words(self, event: Session | Said | Step | Result) -> None:
        match event:
            case Session(id=name, model=model):
                self.session = name if is_session_name(name) else self.session
                self.model = model or self.model
            case Said(text=text, more=more):
                self.has_answer = self.has_answer or bool(text)
                self.said = (self.said + text)[-MOST_TEXT:] if more and self._saying else text or self.said
            case Step():
                self._note_step(event)
            case Result():
                self.result = event

    def _note_step(self, step: Step) -> None:
        self.fault = self.result = None
        if not step.id or step.id != self._step:
            self.steps += 1
            self._steps_at.append(step.at)
        self._step = step.id

    def _note_denied(self, denied: Denied) -> None:
        known = denied.id and any(before.id == denied.id for before in self.denied)
        if not known and len(self.denied) < _MOST_DENIED:
            self.denied.append(denied)

    def _worse(self, fault: Fault) -> Fault:
        """Of two faults in a row the first that says what was wrong counts; the second only that it has ended."""
        before = self.fault
        if before is None or before.kind == "other":
            return fault
        if fault.kind == before.kind:
            resets_at, seconds = before.resets_at or fault.resets_at, before.retry_seconds or fault.retry_seconds
            return structs.replace(before, resets_at=resets_at, retry_seconds=seconds)
        return before if fault.kind in _IN_GENERAL.get(before.kind, {"other"}) else fault

    # --- what it does over and over ----------------------------------------------------------------------

    def _note_call(self, ended: ToolEnded) -> None:
        self.has_answer = False
        begun = self.open_tools.pop(ended.id, None)
        if begun is None:
            return
        seconds = ended.at - begun[1] if ended.seconds is None else ended.seconds
        if seconds >= SLOW_SECONDS:  # it waits for something, and looks again and again whether that is there
            self._failing = (0, 0)
            return
        call = hash((begun[0].name, begun[0].args))
        self._calls.append(hash((call, ended.output)))
        before, count = self._failing
        if ended.ok is False:
            self._failing = (call, count + 1 if call == before else 1)
        else:  # whoever did something else meanwhile tries again with reason
            self._failing = (0, 0)

    @property
    def trouble(self) -> Trouble | None:
        """Return how it goes round in circles, if it does."""
        calls = list(self._calls)
        if len(calls) >= SAME_CALLS and len(set(calls[-SAME_CALLS:])) == 1:
            return "same-call"
        if self._failing[1] >= FAILING_CALLS:
            return "failing-call"
        if len(calls) == 2 * TURNS_OF_TWO and len(set(calls[::2])) == 1 == len(set(calls[1::2])):
            return "two-calls"
        if len(self._steps_at) == STEPS_A_MINUTE and self._steps_at[-1] - self._steps_at[0] < 60.0:
            return "too-fast"
        return "context-faults" if self._context_faults >= CONTEXT_FAULTS else None

    # --- what it costs -----------------------------------------------------------------------------------

    def _note_use(self, used: Used, scope: Scope) -> None:
        usage = Usage(used.input, used.cached, used.output, dollars(used.usd))
        if scope in {"run", "session"}:
            self._used[scope] = usage
            return
        if scope == "step":
            name, before, last = self._last_step
            before = before if used.id and used.id == name else before + last
            self._last_step, usage = (used.id, before, usage), before + usage
        else:
            usage = self._used.get(scope, Usage()) + usage
        self._used[scope] = usage

    def usage(self, before: Usage | None = None) -> Usage:
        """Return what the run used; `before` is what the session had used when it began, if it goes on with one.

        What is said of the run as a whole counts more than what was said of each step.
        """
        for scope in ("run", "part"):
            if scope in self._used:
                return self._used[scope]
        if "session" in self._used:
            return self._used["session"].since(before or Usage())
        return self._used.get("step", Usage())

    def session_usage(self) -> Usage | None:
        """Return what the program says of the whole session, if it does; what follows is compared with that."""
        return self._used.get("session")
