"""A changed configuration: what comes into force and when, with a clock of the test's own; then in real runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from parallel_loop.coordinator import reloading
from parallel_loop.coordinator.control import request
from parallel_loop.coordinator.reloading import Change, Reloading
from parallel_loop.harness.configuration.accepted import read_accepted
from parallel_loop.harness.configuration.settings import Config, ConfigError
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from support.cli import call
from support.repository import git
from support.runs import (
    LANDER,
    PATIENCE_SECONDS,
    WORKER,
    WRITE_A_FILE,
    Run,
    add,
    events,
    kinds,
    make_project,
    running,
    states,
)
from support.waiting import eventually

BROKEN = "agents: [\n"


def happened(project: Project, *names: str) -> list[str]:
    return [str(event.get("why")) for event in events(project) if event["event"] in names]


@dataclass
class Desk:
    """A user's file, and the one who watches it."""

    project: Project
    watch: Reloading
    now: float = 100.0

    def write(self, text: str) -> None:
        path = self.project.root / "parallel-loop.yaml"
        path.write_text(text)
        self.now += 10.0  # looks come seldom
        os.utime(path, ns=(0, int(self.now * 1e9)))  # two writes within one tick of the clock are told apart here

    def look(self, later_seconds: float = 0.0, *, at_once: bool = False) -> Change | None:
        self.now += later_seconds
        return self.watch.look(self.now, at_once=at_once)

    def settle(self) -> Change | None:
        assert self.look() is None
        return self.look(1.0)

    @property
    def in_force(self) -> Config:
        return read_accepted(self.project.state.config)

    @property
    def calls(self) -> list[str]:
        return [call.why for call in self.watch.calls]


def make_desk(
    path: Path, text: str = "agents: 2\n", *, fixed: str = "", environ: Mapping[str, str] | None = None
) -> Desk:
    made = make_project(path / "r", text)
    project = Project.open(made.root, {**made.environ, **(environ or {})})
    desk = Desk(project, Reloading(project, "main", fixed))
    desk.watch.begin()
    assert desk.settle() is None, "as it was when the run began"
    assert events(project) == []
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return make_desk(tmp_path)


def test_a_change_comes_into_force_when_the_file_has_settled(desk: Desk) -> None:
    desk.write("agents: 3\nchecks: [make test]\n")
    assert desk.look() is None
    assert desk.watch.due == desk.now + 1.0
    assert desk.look(0.9) is None
    change = desk.look(0.1)
    assert change is not None
    assert (change.agents, change.workers, change.config.checks) == (3, True, ("make test",))
    assert desk.in_force == change.config
    assert happened(desk.project, "reloaded") == ["agents, checks, retry"]
    assert desk.look(100.0) is None
    assert desk.watch.due == float("inf")


def test_a_file_written_in_two_steps_is_read_once_and_whole(desk: Desk) -> None:
    desk.write("agents: 3\n")
    assert desk.look() is None
    desk.write("agents: 3\nland: never\n")
    assert desk.look() is None, "it has changed again, and has to settle again"
    change = desk.look(1.0)
    assert change is not None
    assert change.config.land == "never"


def test_what_cannot_be_used_is_refused_whole_and_only_when_it_stays_so(desk: Desk) -> None:
    before = desk.in_force
    desk.write(f"land: never\n{BROKEN}")
    assert desk.settle() is None
    assert (desk.calls, desk.watch.due) == ([], desk.now + 2.0)
    assert desk.look(2.0) is None
    (why,) = desk.calls
    assert why.startswith(f"{desk.project.config.source}:2: not valid YAML")
    assert "\n" not in why
    assert desk.in_force == before
    for _ in range(3):
        desk.look(100.0)
    assert len(happened(desk.project, "reload-refused")) == 1
    desk.write("agents: 2\nland: never\nretry: {first: 0s}\n")
    assert desk.calls != [], "until it is mended"
    assert desk.settle() is not None
    assert desk.calls == []
    assert desk.in_force.land == "never"


def test_mended_to_what_it_was_it_is_as_if_nothing_had_been(desk: Desk) -> None:
    before = desk.in_force
    desk.write("agents: many\n")
    desk.look(), desk.look(3.0)
    assert len(desk.calls) == 1
    desk.write("agents: 2\nretry: {first: 0s}\n")
    assert desk.settle() is None
    assert (desk.calls, desk.in_force) == ([], before)
    assert happened(desk.project, "reloaded") == ["nothing that counts has changed"]


def test_a_person_who_asks_gets_an_answer_at_once(desk: Desk) -> None:
    desk.look(at_once=True)
    desk.write(BROKEN)
    assert desk.look(at_once=True) is None
    assert len(desk.calls) == 1
    desk.write("agents: 5\nretry: {first: 0s}\n")
    change = desk.look(at_once=True)
    assert change is not None
    assert (change.agents, change.workers) == (5, False), "agents alone concern no worker"
    assert happened(desk.project, "reloaded") == ["nothing that counts has changed", "agents"]


def test_a_file_that_is_gone_takes_nothing_away(desk: Desk) -> None:
    desk.write("checks: [make test]\n")
    assert desk.settle() is not None
    (desk.project.root / "parallel-loop.yaml").unlink()
    desk.look(), desk.look(3.0)
    assert desk.in_force.checks == ("make test",)
    assert "was removed; put it back" in desk.calls[0]


def test_where_there_never_was_a_file_none_is_missed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    (project.root / "parallel-loop.yaml").unlink()
    project = Project.open(project.root, project.environ)
    desk = Desk(project, Reloading(project, "main"))
    assert (desk.settle(), desk.look(100.0), desk.calls) == (None, None, [])
    desk.write("agents: 7\n")
    change = desk.settle()
    assert change is not None
    assert change.agents == 7


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_agents_that_are_fixed_are_not_changed_and_that_is_said(tmp_path: Path, how: str) -> None:
    environ = {"PARALLEL_AGENTS": "4"} if how == "environment" else {}
    fixed = "PARALLEL_AGENTS=4" if how == "environment" else "--agents 4"
    desk = make_desk(tmp_path, fixed=fixed, environ=environ)
    desk.write("agents: 6\nland: never\nretry: {first: 0s}\n")
    change = desk.settle()
    assert change is not None
    assert (change.agents, change.config.land) == (None, "never")
    assert happened(desk.project, "agents-fixed") == [
        f"`agents: 6` in parallel-loop.yaml does not count beside {fixed}"
    ]


def test_an_edit_of_something_else_says_nothing_about_agents(desk: Desk) -> None:
    desk.write("agents: 2\nland: never\nretry: {first: 0s}\n")
    change = desk.settle()
    assert change is not None
    assert change.agents is None


def test_what_cannot_change_in_a_run_is_left_out_and_said(desk: Desk) -> None:
    desk.write("agents: 2\nretry: {first: 1s}\ntarget: other\nworktrees: elsewhere\nparallel_mode: false\n")
    change = desk.settle()
    assert change is not None
    assert change.config.retry.first_seconds == 1.0
    assert change.config.worktrees == ".parallel-loop/worktrees"
    assert (change.config.target, change.config.parallel_mode) == (None, True)
    (why,) = desk.calls
    assert why.startswith("`parallel_mode`, `target`, `worktrees` cannot change in a run")
    assert len(happened(desk.project, "restart-needed")) == 1
    desk.write("agents: 2\nretry: {first: 1s}\ntarget: main\n")
    assert desk.settle() is None, "that is what it is already"
    assert desk.calls == []


def test_what_could_not_be_written_down_is_not_in_force_and_is_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    desk.write("land: never\n")
    assert desk.look() is None
    with monkeypatch.context() as patch:
        patch.setattr(reloading, "write_accepted", refuse)
        with pytest.raises(OSError, match="No space"):
            desk.look(1.0)
    assert happened(desk.project, "reloaded") == []
    change = desk.look(0.2)
    assert change is not None
    assert desk.in_force.land == "never"


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"agents": "many"}', b"\xff"])
def test_a_worker_without_the_configuration_in_force_says_so_in_one_line(desk: Desk, content: bytes | None) -> None:
    path = desk.project.state.config
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json.*start it again"):
        Project.open(desk.project.root, accepted=(str(path),))


# --- real runs ------------------------------------------------------------------------------------------------------


def configure(project: Project, text: str) -> None:
    (project.root / "parallel-loop.yaml").write_text(f"{text}\nretry: {{first: 0s}}\n")


def reload(run: Run, text: str) -> None:
    configure(run.project, text)
    run.send(signal.SIGHUP)


def saying(word: str, go: Path) -> str:
    """A configuration whose program writes `word` into a file, once it may."""
    script = f"until test -e {go}; do sleep 0.02; done; echo {word} > $PARALLEL_LOOP_ITEM"
    return f"program: mine\nprograms: {{mine: {{argv: [sh, -c, '{script}'], prompt: stdin}}}}"


def test_the_item_in_hand_is_finished_with_the_old_and_the_next_is_begun_with_the_new(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r", saying("old", go))
    project.queue.add([Item(id=name, title=name, added_at="", prompt="x") for name in ("one", "two")])
    with running(project, "--agents", "1") as run:
        worker = run.until_working("one")
        landers = run.children(LANDER)
        reload(run, saying("new", go))
        eventually(lambda: run.agent("agent-1").health == "finishing", PATIENCE_SECONDS)
        assert worker.is_running()
        go.touch()
        eventually(lambda: states(project) == {"one": "done", "two": "done"}, PATIENCE_SECONDS)
        assert run.agent("agent-1").restarts == 0
        assert not worker.is_running()
        assert landers
        eventually(lambda: not any(lander.is_running() for lander in landers), PATIENCE_SECONDS)  # for it has checks
        request(project, ending="finish")
        assert run.wait() == 0, run.output
    assert [git(project.root, "show", f"main:{name}") for name in ("one", "two")] == ["old", "new"]
    assert [kinds(project, name) for name in ("one", "two")] == [["claimed", "landing", "done"]] * 2
    assert happened(project, "died", "killed", "taken-back", "gave-up") == []
    assert happened(project, "reloaded") == ["programs"]


KILLED_IN_BETWEEN = """
import os, signal, sys
from parallel_loop.coordinator import cli, reloading

write = reloading.write_accepted

def write_and_die(path, config):
    there = path.exists()
    write(path, config)
    if there:
        os.kill(os.getpid(), signal.SIGKILL)

reloading.write_accepted = write_and_die
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_killed_between_the_configuration_written_and_in_force_it_has_one_and_loses_nothing(tmp_path: Path) -> None:
    go, script = tmp_path / "go", tmp_path / "main.py"
    script.write_text(KILLED_IN_BETWEEN)
    project = make_project(tmp_path / "r", saying("old", go))
    project.queue.add([Item(id=name, title=name, added_at="", prompt="x") for name in ("one", "two")])
    with running(project, "--agents", "1", main=str(script)) as run:
        run.until_working("one")
        reload(run, saying("new", go))
        assert run.wait() == -signal.SIGKILL
        with running(project, "--agents", "1", "--drain") as another:
            eventually(lambda: another.agent("agent-1") is not None, PATIENCE_SECONDS)
            go.touch()
            assert another.wait() == 0, another.output
    assert [git(project.root, "show", f"main:{name}") for name in ("one", "two")] == ["old", "new"]
    assert [kinds(project, name) for name in ("one", "two")] == [["claimed", "landing", "done"]] * 2
    assert "echo new" in str(read_accepted(project.state.config).programs)


@pytest.mark.parametrize("spoil", ["echo spoiled >", "rm", "rm {file}; mkfifo"])
def test_a_program_that_spoils_what_is_in_force_spoils_it_for_nobody(tmp_path: Path, spoil: str) -> None:
    """The worker dies as well, so that the next one has to read it."""
    project = make_project(tmp_path / "r")
    file, once = project.state.config, tmp_path / "once"
    worker = "$(sed 's/.*) . //; s/ .*//' /proc/$PPID/stat)"
    hit = f"touch {once}; {spoil.format(file=file)} {file}; kill -9 {worker}; sleep 600"
    add(project, "one", f"if test -e {once}; then {WRITE_A_FILE}; else {hit}; fi")
    with running(project, "--agents", "1", "--drain") as run:
        assert run.wait() == 0, run.output
    assert states(project) == {"one": "done"}
    assert len(happened(project, "died")) == 1


def test_it_is_noticed_by_itself_and_scale_is_not_undone_by_another_edit(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "agents: 1\nhealth: {heartbeat: 0.5s, silent: 20s}\n")
    with running(project) as run:
        eventually(lambda: len(run.children(WORKER)) == 1, PATIENCE_SECONDS)
        configure(project, "agents: 2\nhealth: {heartbeat: 0.5s, silent: 20s}")
        eventually(lambda: len(run.children(WORKER)) == 2, PATIENCE_SECONDS)
        request(project, agents=3)
        eventually(lambda: len(run.children(WORKER)) == 3, PATIENCE_SECONDS)
        before = run.children(WORKER)
        reload(run, "agents: 2\nland: never\nhealth: {heartbeat: 0.5s, silent: 20s}")
        eventually(lambda: not any(worker.is_running() for worker in before), PATIENCE_SECONDS)
        eventually(lambda: len(run.children(WORKER)) == 3, PATIENCE_SECONDS)
        reload(run, "agents: 1\nland: never\nhealth: {heartbeat: 0.5s, silent: 20s}")
        eventually(lambda: len(run.children(WORKER)) == 1, PATIENCE_SECONDS)
    assert happened(project, "reloaded") == ["agents", "land", "agents"]
    assert happened(project, "died") == []


def test_while_the_file_is_broken_work_goes_on_with_what_was_accepted_and_everybody_can_speak(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "roles: {builder: {wip: 2}}")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.agent("agent-1") and run.agent("agent-1").state == "idle", PATIENCE_SECONDS)
        (worker,) = run.children(WORKER)
        reload(run, "roles: {builder: {wip: none}}")
        (need,) = eventually(lambda: run.snapshot().attention, PATIENCE_SECONDS)
        assert "parallel-loop.yaml:1: roles.builder.wip: must be a whole number" in need.why
        worker.kill()
        eventually(lambda: run.children(WORKER) not in ([], [worker]), PATIENCE_SECONDS)
        add(project, "one", role="builder")
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
        for arguments in (("status", "--json"), ("add", "--command", "true", "--role", "builder"), ("pause",)):
            answer = call(project.root, *arguments)
            assert answer.code == 0, answer
            assert "what the running coordinator accepted before counts" in answer.err
        reload(run, "roles: {builder: {wip: 3}}")
        eventually(lambda: not run.snapshot().attention, PATIENCE_SECONDS)
        request(project, ending="stop")
        run.wait()
    configure(project, BROKEN)
    assert call(project.root, "add", "x").code == 2, "nobody accepted it, and nobody runs"
    looked = call(project.root, "status")
    assert (looked.code, "not valid YAML" in looked.err) == (0, True), "who only reads is told, and goes on"
    assert happened(project, "gave-up") == []
