"""`parallel-loop doctor`, in this process: what it finds, and what `--repair` mends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
from pathlib import Path

import pytest

from parallel_loop.coordinator.target_report import RemoteReport, TargetReport, write_target
from parallel_loop.harness.child import hold_for_life
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.keeping.processes import MARK_AGENT, MARK_STATE
from parallel_loop.harness.project import Project
from parallel_loop.queue import watching
from parallel_loop.queue.bell import Bell
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.taking import Taker
from support.cli import CommandLine
from support.repository import git, make_empty_repository


@pytest.fixture
def project(root: Path) -> Project:
    return Project.open(root, {})


def test_doctor_finds_nothing_wrong_in_a_healthy_repository_and_changes_nothing(root: Path, cli: CommandLine) -> None:
    before = sorted(root.rglob("*"))

    answer = cli("doctor", "--json")

    assert answer.code == 0, answer.out
    assert "fail" not in {finding["verdict"] for finding in json.loads(answer.out)["findings"]}
    assert sorted(root.rglob("*")) == before


def test_doctor_names_each_fault_with_its_remedy(root: Path, cli: CommandLine, project: Project) -> None:
    config = "target: nowhere\nprogram: mine\nprograms:\n  mine: {argv: [no-such-program]}\n"
    (root / "parallel-loop.yaml").write_text(config)
    (root / ".git/index.lock").touch()
    project.queue.create()
    (project.queue.layout.items / "stray").mkdir()
    (project.queue.layout.items / "stray" / "file").touch()
    project.state.agent("agent-1").create()

    answer = cli("doctor", "--json")

    found = {f["name"]: f for f in json.loads(answer.out)["findings"] if f["verdict"] != "ok"}
    assert answer.code == 1
    assert set(found) == {"git lock", "checks", "target", "program", "queue", "worktree"}
    assert found["target"]["detail"] == "there is no branch 'nowhere'"
    assert found["program"]["detail"] == "mine: no-such-program is not on PATH"
    assert all(finding["remedy"] for finding in found.values())


def test_doctor_repeats_the_last_known_trouble_with_the_remote(root: Path, cli: CommandLine, project: Project) -> None:
    (root / "parallel-loop.yaml").write_text("remote: origin\n")
    git(root, "remote", "add", "origin", "/nowhere.git")
    project.state.create()

    def told(remote: RemoteReport) -> tuple[str, str, str | None]:
        write_target(project.state.root, TargetReport("main", "abc", remote=remote))
        found = json.loads(cli("doctor", "--json").out)["findings"]
        [finding] = [one for one in found if one["name"] == "remote"]
        return finding["verdict"], finding["detail"], finding["remedy"]

    trouble = "origin cannot be fetched from: gone"
    expected = ("warn", f"{trouble} (when a run last tried)", "git fetch origin")
    assert told(RemoteReport("origin", None, trouble, "git fetch origin")) == expected
    assert told(RemoteReport("another", None, "another cannot be fetched from")) == ("ok", "origin", None)
    assert told(RemoteReport("origin", "abc")) == ("ok", "origin", None)


def test_doctor_outside_a_repository_and_with_a_bad_configuration_still_says_what_it_can(
    root: Path, tmp_path: Path, cli: CommandLine
) -> None:
    outside = cli("--repo", str(tmp_path), "doctor")
    (root / "parallel-loop.yaml").write_text("agents: many\n")
    misconfigured = cli("doctor")

    assert (outside.code, "FAIL  repository" in outside.out) == (4, True)
    assert (misconfigured.code, "FAIL  configuration" in misconfigured.out) == (1, True)
    assert "hard links" in misconfigured.out


def test_doctor_says_what_the_file_system_cannot_do_and_leaves_nothing_there(root: Path, cli: CommandLine) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    cli.monkeypatch.setattr(os, "link", refuse)
    cli.monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    cli.monkeypatch.setattr(os, "statvfs", lambda _: full)

    answer = cli("doctor", "--json")

    findings = json.loads(answer.out)["findings"]
    assert answer.code == 4
    failed = {finding["name"] for finding in findings if finding["verdict"] == "fail"}
    assert failed == {"hard links", "locks", "process locks", "disk"}
    assert all(finding["remedy"] for finding in findings if finding["verdict"] == "fail")
    assert sorted(path.name for path in root.iterdir()) == [".git", "README.md"]


def test_doctor_says_how_those_who_wait_are_woken(root: Path, cli: CommandLine) -> None:
    def waking() -> dict[str, str]:
        findings = json.loads(cli("doctor", "--json").out)["findings"]
        return next(finding for finding in findings if finding["name"] == "waking")

    def refuse(number: int) -> None:
        cli.monkeypatch.setattr(watching, "kernel_source", lambda: (_ for _ in ()).throw(OSError(number, "no")))

    assert waking()["verdict"] == "ok"
    assert waking()["detail"] in {"by inotify", "by kqueue"}
    cli.monkeypatch.setattr(Bell, "ring", lambda *_: None)
    deaf = waking()
    assert (deaf["verdict"], deaf["remedy"]) == ("warn", "keep the repository on a local disk")
    for number, remedy in ((errno.EMFILE, "max_user_instances"), (errno.ENOSPC, "max_user_watches"), (1, "nothing")):
        refuse(number)
        found = waking()
        assert found["verdict"] == "warn"
        assert found["detail"].startswith("by polling: ")
        assert remedy in found["remedy"]
    assert sorted(path.name for path in root.iterdir()) == [".git", "README.md"]


def test_doctor_sees_a_detached_head_a_merge_in_progress_and_a_repository_without_a_commit(
    root: Path, tmp_path: Path, cli: CommandLine
) -> None:
    git(root, "switch", "--quiet", "--detach")
    (root / ".git/MERGE_HEAD").write_text("0" * 40)
    detached = cli("doctor")
    cli.directory = make_empty_repository(tmp_path / "empty")
    empty = cli("doctor")

    assert detached.code == 1
    assert "warn  repository    a merge is in progress" in detached.out
    assert "FAIL  target        HEAD is detached" in detached.out
    assert empty.code == 4
    assert "has no commit yet" in empty.out


def test_repair_ends_what_a_dead_worker_left_running_and_leaves_a_living_ones_alone(
    cli: CommandLine, project: Project
) -> None:
    cli("add", "--command", "true")
    programs = []
    for name in ("agent-1", "agent-2"):
        project.state.agent(name).create()
        marks = {MARK_STATE: str(project.state.root), MARK_AGENT: name}
        programs.append(subprocess.Popen(["sleep", "100"], env=os.environ | marks))
    place = hold_for_life(project.state.agent("agent-2").lock, "agent-2")

    answer = cli("doctor", "--repair", "--json")

    left_running = [program.poll() is None for program in programs]
    for program in programs:
        program.kill()
        program.wait()
    os.close(place)
    assert json.loads(answer.out)["repaired"] == ["ended what a dead worker of agent-1 left running (processes: 1)"]
    assert left_running == [False, True]


def test_a_queue_of_a_newer_version_is_left_alone(cli: CommandLine, project: Project) -> None:
    cli("add", "--command", "true")
    project.queue.layout.format.write_text('{"version": 99}')

    added, examined = cli("add", "--command", "true"), cli("doctor")

    assert (added.code, "install the newer parallel-loop that wrote it" in added.line) == (4, True)
    assert (examined.code, "FAIL  queue" in examined.out) == (1, True)


def test_repair_takes_back_what_the_dead_held(cli: CommandLine, project: Project) -> None:
    cli("add", "--command", "true", "--id", "a")
    dead = Taker(project.queue, Owner("agent-1", *own_identity()))
    assert dead.take() is not None
    dead.close()  # the lock is free, as after a kill

    assert "a is held by agent-1, whose worker is dead" in cli("doctor").out
    answer = cli("doctor", "--repair")

    assert "done  took a back from agent-1, whose worker died" in answer.out
    assert "held by" not in answer.out
    assert json.loads(cli("list", "--json").out)[0]["state"] == "delayed"


def found_of(name: str, cli: CommandLine) -> list[str]:
    return [one["detail"] for one in json.loads(cli("doctor", "--json").out)["findings"] if one["name"] == name]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("program: codex\nfallback: codex", ["`fallback: codex` never has an effect: it is the program itself"]),
        (
            "fallback: codex",
            ["`fallback: codex` never has an effect: the program is shell, which no limit of an account stops"],
        ),
        ("fallback: codex\nroles: {a: {program: claude}}", []),
        ("program: claude\nfallback: codex", []),
        (
            "program: claude\nfallback: codex\nroles: {a: {program: codex, fallback: codex}}",
            ["`roles.a.fallback: codex` never has an effect: it is the program itself"],
        ),
        ("program: claude\nroles: {a: {fallback: codex}}", []),
    ],
)
def test_a_fallback_that_never_has_an_effect_is_warned_of(
    root: Path, cli: CommandLine, config: str, said: list[str]
) -> None:
    (root / "parallel-loop.yaml").write_text(config)
    assert found_of("fallback", cli) == said


def test_an_attempt_that_may_cost_more_than_its_item_is_warned_of(root: Path, cli: CommandLine) -> None:
    (root / "parallel-loop.yaml").write_text("budget: {attempt: 10, item: 5}\n")
    (said,) = found_of("budget", cli)
    assert said == "`budget.attempt` is more than `budget.item` ($10, $5), so no attempt may cost as much"
    (root / "parallel-loop.yaml").write_text("budget: {attempt: 5, item: 5}\n")
    assert found_of("budget", cli) == []


def test_files_for_everybody_that_are_not_committed_are_warned_of(root: Path, cli: CommandLine) -> None:
    (root / "here.md").write_text("x")
    git(root, "add", "here.md")
    git(root, "commit", "-qm", "here")
    (root / "NOPE.md").write_text("not committed")
    (root / "parallel-loop.yaml").write_text("context: [here.md, NOPE.md]\n")
    assert found_of("context", cli) == ["NOPE.md is not on main"]
    git(root, "branch", "parallel-loop/landed", "main~1")
    landed = "is not on parallel-loop/landed"
    assert found_of("context", cli) == [f"here.md {landed}", f"NOPE.md {landed}"]
