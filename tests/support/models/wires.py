"""What the modules of the wire formats have in common: a request as it was read, and a reply as it is sent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from support.models.script import Fault, Said, Step

Body = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request for an answer of the model."""

    model: str
    said: list[Said]
    tools: frozenset[str] = frozenset()
    session: str = ""  # as the client names it; "" where it does not
    stream: bool = True


@dataclass(frozen=True)
class Reply:
    """An answer in pieces, so that it can stop in the middle; more than one piece is a stream of events."""

    pieces: list[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"


class Wire(Protocol):
    """One wire format; each is a module."""

    def read(self, path: str, headers: Mapping[str, str], body: Body) -> Asked: ...

    def answer(self, asked: Asked, step: Step) -> Reply: ...

    def failure(self, asked: Asked, fault: Fault, now: float) -> Reply: ...


def plain(body: Body, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply([json.dumps(body).encode()], status, headers or {})


def events(bodies: Iterable[Body], *, named: bool) -> Reply:
    """A stream of server-sent events; named ones carry their type beside the data as well."""
    pieces = []
    for body in bodies:
        name = f"event: {body['type']}\n" if named else ""
        pieces.append(f"{name}data: {json.dumps(body)}\n\n".encode())
    return Reply(pieces, kind="text/event-stream")


def waiting(fault: Fault) -> dict[str, str]:
    return {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:24]}"


def text_of(content: Any, kinds: Iterable[str] = ("text", "input_text", "output_text")) -> str:
    """The text in a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content or [] if part.get("type") in kinds)
