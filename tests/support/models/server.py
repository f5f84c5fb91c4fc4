"""A model server on the loopback that does what the prompts of its clients say (`script.py`), and remembers who asked.

`with ModelServer() as server:` answers at `server.url` on a port of its own until the end of the block; nothing of it
is left then, hanging answers included. A request from a model whose name ends in `-side`, or without the tools that its
script uses, is one of those with which a client names its session: it is told a title and takes no step.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

from support.models import anthropic, chat, gemini, responses
from support.models.script import BadScript, Counts, Fault, Step, next_step
from support.models.wires import Asked, Reply, Wire, plain

_LOOK_SECONDS = 0.05
_ON_THE_WAY = {"hang", "hang_mid", "disconnect"}  # faults of the connection, not answers
SIDE = "-side"


@dataclass(frozen=True)
class Request:
    """One answer that a client asked for, and what it got: a text, the name of a tool, or a fault."""

    at: float
    wire: str
    model: str
    session: str
    step: int
    got: str
    side: bool = False
    resets_at: int | None = None  # of a limit, where the wire can say it


class ModelServer:
    """See the module."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.others: list[str] = []  # what was asked for that is no answer of a model
        self.problems: list[str] = []  # scripts that are wrong, and what went wrong here
        self.closing = threading.Event()
        self.counts = Counts()
        self._http = _Http(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_LOOK_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def mend(self) -> None:
        """Fail no more, whatever the scripts say."""
        self.counts.is_mended = True

    @property
    def steps(self) -> list[Request]:
        """The requests that took a step, or failed at one."""
        return [request for request in list(self.requests) if not request.side]

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def take(self, wire: ModuleType, asked: Asked) -> tuple[Step | Fault, Reply]:
        """What the script of this request says next, and that on the wire; it is noted here."""
        now = time.time()
        script, number, told = next_step(asked.said)
        side = asked.model.endswith(SIDE) or (told.get("tool") in {"bash", "read"} and not asked.tools)
        step = Step("a title") if side else self.counts.resolve(told, (script, number, asked.session))
        speaker: Wire = wire  # type: ignore[assignment]
        resets_at = None
        if isinstance(step, Step):
            reply, got = speaker.answer(asked, step), step.tool or step.text
        else:
            has_time = step.kind == "usage_limit" and wire in {anthropic, responses}
            resets_at = int(now + step.reset_in) if has_time else None
            known = step.kind not in _ON_THE_WAY
            reply, got = speaker.failure(asked, step, now) if known else speaker.answer(asked, Step("half")), step.kind
        name = wire.__name__.rpartition(".")[2]
        self.requests.append(Request(now, name, asked.model, asked.session, number, got, side, resets_at))
        return step, reply


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 128

    def __init__(self, models: ModelServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError):  # a client that was killed is no problem
            self.models.problems.append(repr(error))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, *message: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.models.others.append(f"{self.command} {self.path}")
        self._send(plain({"error": {"message": f"there is no {self.path} here"}}, 404))

    do_HEAD = do_GET  # noqa: N815 (named by the standard library)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith(("/count_tokens", ":countTokens")):
            self._send(plain({"input_tokens": 1500, "totalTokens": 1500}))
            return
        wire = _wire(path)
        if wire is None:
            self.do_GET()
            return
        asked = wire.read(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        try:
            step, reply = self.server.models.take(wire, asked)
        except BadScript as error:
            self.server.models.problems.append(str(error))
            self._send(plain({"error": {"message": str(error)}}, 400))
            return
        self._send(reply, step.kind if isinstance(step, Fault) else "")

    def _send(self, reply: Reply, fault: str = "") -> None:
        """Send what there is of `reply` with this fault; every answer ends its connection."""
        self.close_connection = True
        if fault == "hang":
            self._hang()
            return
        whole = fault not in _ON_THE_WAY
        self.send_response(reply.status)
        for name, value in {"content-type": reply.kind, "connection": "close", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in reply.pieces if whole else [reply.pieces[0][: None if len(reply.pieces) > 1 else 20]]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        elif fault == "hang_mid":
            self._hang()
        else:
            time.sleep(_LOOK_SECONDS)  # what is reset at once has not been read yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _hang(self) -> None:
        """Be silent until the client or the server goes."""
        self.connection.settimeout(_LOOK_SECONDS)
        while not self.server.models.closing.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue


def _wire(path: str) -> ModuleType | None:
    if path.endswith("/messages"):
        return anthropic
    if path.endswith("/responses"):
        return responses
    if path.endswith("/chat/completions"):
        return chat
    return gemini if path.endswith("enerateContent") else None
