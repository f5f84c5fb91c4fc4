"""The fake model server itself, asked as the clients ask it; and what was recorded of them is complete."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models.cases import CASES, OUTCOMES
from support.models.clients import CLIENTS
from support.models.script import BadScript, prompt
from support.models.server import ModelServer
from support.waiting import eventually

Body = dict[str, Any]
TRANSCRIPTS = Path(__file__).parent / "transcripts"
WRITE = {"tool": "write", "args": {"path": "a.txt", "content": "hi\n"}}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def ask(server: ModelServer, path: str, body: Body) -> str:
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def anthropic(text: str, answers: int) -> tuple[str, Body]:
    said = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    for _ in range(answers):
        said.append({"role": "assistant", "content": [{"type": "text", "text": "so"}]})
        said.append({"role": "user", "content": [{"type": "tool_result", "content": text}]})  # no user said this
    return "/v1/messages?beta=true", {"model": "m", "messages": said, "tools": [{"name": "Write"}], "stream": True}


def responses(text: str, answers: int) -> tuple[str, Body]:
    said: list[Body] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]
    for _ in range(answers):
        said.append({"type": "function_call", "name": "exec_command"})
        said.append({"type": "function_call_output", "output": text})
    offered = [{"type": "function", "name": "exec_command"}]
    return "/v1/responses", {"model": "m", "input": said, "tools": offered, "stream": True}


def chat(text: str, answers: int, *, stream: bool = False) -> tuple[str, Body]:
    said = [{"role": "system", "content": "You help."}, {"role": "user", "content": text}]
    for _ in range(answers):
        said += [{"role": "assistant", "content": ""}, {"role": "tool", "content": text}]
    offered = [{"type": "function", "function": {"name": "bash"}}]
    return "/v1/chat/completions", {"model": "m", "messages": said, "tools": offered, "stream": stream}


def streamed_chat(text: str, answers: int) -> tuple[str, Body]:
    return chat(text, answers, stream=True)


def gemini(text: str, answers: int, call: str = "streamGenerateContent?alt=sse") -> tuple[str, Body]:
    said: list[Body] = [{"role": "user", "parts": [{"text": text}]}]
    for _ in range(answers):
        said.append({"role": "model", "parts": [{"functionCall": {"name": "write_file"}}]})
        said.append({"role": "user", "parts": [{"functionResponse": {"name": "write_file"}}]})
    offered = [{"functionDeclarations": [{"name": "write_file"}]}]
    return f"/v1beta/models/m:{call}", {"contents": said, "tools": offered}


def whole_gemini(text: str, answers: int) -> tuple[str, Body]:
    return gemini(text, answers, "generateContent")


WIRES = [anthropic, responses, chat, streamed_chat, gemini, whole_gemini]
Wire = Callable[[str, int], tuple[str, Body]]


@pytest.mark.parametrize("wire", WIRES)
def test_the_next_step_follows_from_the_conversation(server: ModelServer, wire: Wire) -> None:
    text = prompt(WRITE, {"text": "half"}, {"text": "all"})
    answers = [ask(server, *wire(text, number)) for number in (0, 1, 2, 3)]
    assert "a.txt" in answers[0]
    assert ["half" in answers[1], "all" in answers[2], "done" in answers[3]] == [True, True, True]
    assert [(one.step, one.got) for one in server.steps] == [(0, "write"), (1, "half"), (2, "all"), (3, "done")]
    assert server.problems == []


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("rate_limit", {429}),
        ("usage_limit", {429}),
        ("overloaded", {503, 529}),
        ("server_error", {500}),
        ("auth", {401}),
    ],
)
def test_a_fault_comes_as_often_as_it_says(server: ModelServer, wire: Wire, kind: str, status: set[int]) -> None:
    text = prompt({"fail": kind, "times": 2, "then": {"text": "better"}})
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as failed:
            ask(server, *wire(text, 0))
        assert failed.value.code in status
        failed.value.close()
    assert "better" in ask(server, *wire(text, 0))
    has_time = kind == "usage_limit" and wire in {anthropic, responses}
    assert [bool(one.resets_at) for one in server.steps] == [has_time] * 2 + [False]


@pytest.mark.parametrize("wire", WIRES)
def test_a_connection_that_drops_is_no_answer(server: ModelServer, wire: Wire) -> None:
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask(server, *wire(prompt({"fail": "disconnect"}), 0))
    assert server.problems == []


@pytest.mark.parametrize("kind", ["hang", "hang_mid"])
def test_the_end_of_the_server_ends_what_hangs(kind: str) -> None:
    failed: list[Exception] = []

    def client(server: ModelServer) -> None:
        try:
            ask(server, *anthropic(prompt({"fail": kind}), 0))
        except (OSError, http.client.HTTPException) as error:
            failed.append(error)

    with ModelServer() as server:
        thread = threading.Thread(target=client, args=(server,))
        thread.start()
        eventually(lambda: server.steps)
        assert not failed
    thread.join()
    assert len(failed) == 1


def test_clients_do_not_disturb_each_other(server: ModelServer) -> None:
    texts = [prompt({"fail": "rate_limit", "times": 1, "then": {"text": f"answer {number}"}}) for number in range(12)]
    answers: list[str] = []

    def client(text: str) -> None:
        with pytest.raises(urllib.error.HTTPError) as failed:
            ask(server, *chat(text, 0))
        failed.value.close()
        answers.append(json.loads(ask(server, *chat(text, 0)))["choices"][0]["message"]["content"])

    threads = [threading.Thread(target=client, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(f"answer {number}" for number in range(12))


def test_a_wrong_script_is_the_tests_fault() -> None:
    for wrong in ({"fail": "everything"}, {"txt": "hi"}):
        with pytest.raises(BadScript):
            prompt(wrong)


def test_the_last_step_can_come_for_ever(server: ModelServer) -> None:
    text = prompt({"text": "first"}, {"text": "again", "forever": True})
    assert all("again" in ask(server, *chat(text, number)) for number in (1, 2, 9))


@pytest.mark.parametrize("name", CLIENTS)
def test_every_case_of_a_client_is_recorded(name: str) -> None:
    folder, client = TRANSCRIPTS / name, CLIENTS[name]
    told = json.loads((folder / "cases.json").read_text())
    assert set(told) == {case.name for case in CASES if client.can_do(case)}
    for case, ended in told.items():
        assert ended["outcome"] in OUTCOMES
        assert ended["version"] == client.version
        assert (folder / f"{case}.{client.ending}").exists()
    files = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert files == {*told, "cases"}
