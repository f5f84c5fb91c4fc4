"""Real clients, driven by real coordinators by their presets: how each is unlike the others, and the stage for it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parallel_loop.harness.configuration.presets import PRESETS
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item, Record
from support.models.cases import Steps, edit
from support.models.clients import CLIENTS, Client
from support.models.script import prompt
from support.models.server import ModelServer
from support.models.wishes import Place, Wish
from support.repository import environment, make_repository
from support.runs import running

# Once only: a session that is killed meanwhile may have kept the call, or not.
FOLLOW = {"tool": "bash", "args": {"command": "test -e 987654 || { touch 987654; tail -f 987654; }"}}


@dataclass(frozen=True)
class Driven:
    """How a client is driven here, and in what it is unlike the others.

    `keys` are those of its program. It lands `items` in the time of a test; `steps` are those of `edit()` that it asks
    for. After `silent` seconds without a word it is ended, which is longer than it takes to begin.
    `limit` is a limit of its account that says when it ends; None: of that nothing is said.
    """

    keys: str
    items: int = 12
    steps: int = 3
    silent: int = 4
    limit: dict[str, Any] | None = None
    dropped: str = "done"  # what an attempt comes to whose answer is cut off in the middle of the work
    wish: dict[str, Any] = field(default_factory=dict)

    def edit_with(self, fault: dict[str, Any]) -> Steps:
        """The steps of `edit()`, in the middle of which (or at the beginning, where there is one) `fault` comes."""
        steps = list(edit())
        place = 1 if self.steps > 1 else 0
        steps[place] = {**fault, "then": steps[place]}
        return tuple(steps)


_TIMED = {"fail": "usage_limit", "times": 1, "reset_in": 1}
_NO_SANDBOX = "args: [--dangerously-bypass-approvals-and-sandbox, --disable, plugins, --disable, apps]"
_PLAIN = "args: [--weak-model, openai/model-1-side, --edit-format, whole, --no-show-model-warnings]"
DRIVEN = {
    "claude": Driven("model: claude-sonnet-4-5", limit=_TIMED, wish={"subscription": True}),
    "codex": Driven(f"model: gpt-5.5, {_NO_SANDBOX}", limit=_TIMED),
    "gemini": Driven("model: gemini-2.5-pro", items=6, silent=10, dropped="network"),
    "opencode": Driven("model: fake/model-1", items=6, silent=10),
    "mini": Driven("model: openai/gpt-4o", items=6, silent=10),
    "aider": Driven(f"model: openai/model-1, {_PLAIN}", items=6, steps=1, silent=10),
}
NAMES = os.environ.get("WHO", "claude codex").split()
COMMANDING = [name for name in NAMES if "commands" in CLIENTS[name].can]


@dataclass
class Stage:
    """A repository whose items are done by a real client, which asks the fake server."""

    client: Client
    project: Project
    server: ModelServer

    @property
    def driven(self) -> Driven:
        return DRIVEN[self.client.name]

    def add(self, item_id: str, *steps: dict[str, Any], **fields: object) -> None:
        named = {"id": item_id, "title": f"Do {item_id}", "added_at": "", "prompt": prompt(*steps)}
        self.project.queue.add([Item(**(named | fields))])

    def drain(self, agents: int = 1, seconds: float = 200) -> int:
        """Run until nothing is left to do; return the exit code."""
        with running(self.project, "--agents", str(agents), "--drain") as run:
            return run.wait(seconds)

    def records(self, item_id: str) -> tuple[Record, ...]:
        entry = self.project.queue.entry(item_id)
        assert entry is not None
        return entry.records

    def ends(self, item_id: str) -> list[Record]:
        """The records that ended its attempts."""
        return [record for record in self.records(item_id) if record.kind in {"released", "landing", "failed"}]

    def outcomes(self, item_id: str) -> list[str | None]:
        return [record.outcome for record in self.ends(item_id)]

    def sessions(self, item_id: str) -> set[str]:
        return {record.session for record in self.records(item_id) if record.session}

    def following(self) -> list[int]:
        """The processes that a tool has become which was called as FOLLOW says, in a worktree of this repository."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                here = (folder / "cwd").readlink().is_relative_to(self.project.root)
                if here and (folder / "cmdline").read_bytes().split(b"\0")[:3] == [b"tail", b"-f", b"987654"]:
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        """What attempts started and is alive: of this repository, whatever process group it is in."""
        return list(_marked(f"PARALLEL_LOOP_STATE={self.project.state.root}"))


def make_stage(
    folder: Path, server: ModelServer, name: str, more: str = "", *, keys: str | None = None, **wish: Any
) -> Stage:
    """The stage for a client with `keys` and `more` for its program, started as `wish` says.

    What its preset sets is not set for it here: that is to be found out.
    """
    client = CLIENTS[name]
    program = client.program()
    assert program, f"{name} is not installed: make test-real"
    (folder / "home" / "tmp").mkdir(parents=True)
    keys = DRIVEN[name].keys if keys is None else keys
    text = f"program: {name}\nprograms: {{{name}: {{{keys}{more}}}}}\nchecks: ['test ! -e broken']\n"
    text += "retry: {first: 0s}\nafter_limit: {slack: 0s, jitter: 0s}\n"
    root = make_repository(folder / "repo", {"README": "start\n", "parallel-loop.yaml": text})
    started = client.invoke(Place(folder / "home", root, server.url), Wish("", **wish))
    own = {key: value for key, value in started.env.items() if key not in PRESETS[name].get("env", {})}
    project = Project.open(root, {**environment(), **own, "PATH": f"{program.parent}:{started.env['PATH']}"})
    project.state.create()
    return Stage(client, project, server)


def _marked(mark: str) -> Iterable[str]:
    """The command lines of processes that have `mark` in their environment, and are an attempt's."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
            if mark in environ and any(variable.startswith("PARALLEL_LOOP_ITEM=") for variable in environ):
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
