"""While a run lives nobody prunes what agents are about to commit, and afterwards the user's setting is as it was."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from parallel_loop.worktrees.environment import Identity, program_environment, scrub
from parallel_loop.worktrees.precious import is_protected_by_us, protect, unprotect
from parallel_loop.worktrees.repository import Repository
from support.repository import attempt_git, environment, git, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.open(make_repository(tmp_path / "repo"))


def setting(repository: Repository) -> str:
    return attempt_git(repository.root, "config", "extensions.preciousObjects").stdout.strip()


def test_it_is_set_for_the_run_and_unset_after_it_also_by_who_comes_after_a_kill(repository, tmp_path):
    note = tmp_path / "note"
    protect(repository, note)
    assert is_protected_by_us(repository, note)
    assert attempt_git(repository.root, "prune").returncode == 128
    protect(repository, note)  # another run, after a kill
    assert unprotect(repository, note)
    assert (setting(repository), note.exists()) == ("", False)
    assert not unprotect(repository, note)


def test_killed_between_note_and_setting(repository, tmp_path):
    note = tmp_path / "note"
    note.touch()
    protect(repository, note)
    assert setting(repository) == "1"
    git(repository.root, "config", "--unset", "extensions.preciousObjects")  # killed between the setting and the note
    assert not unprotect(repository, note)
    assert not note.exists()


@pytest.mark.parametrize("value", ["true", "yes", "false"])
def test_what_the_user_set_is_there_afterwards(repository, tmp_path, value):
    git(repository.root, "config", "extensions.preciousObjects", value)
    protect(repository, tmp_path / "note")
    assert attempt_git(repository.root, "prune").returncode == 128
    unprotect(repository, tmp_path / "note")
    assert setting(repository) == value


def test_what_the_user_sets_in_a_run_is_not_ours(repository, tmp_path):
    protect(repository, tmp_path / "note")
    git(repository.root, "config", "extensions.preciousObjects", "true")
    assert not unprotect(repository, tmp_path / "note")
    assert setting(repository) == "true"


def test_repositories_of_the_oldest_format_know_it(repository, tmp_path):
    assert git(repository.root, "config", "core.repositoryFormatVersion") == "0"
    protect(repository, tmp_path / "note")
    assert git(repository.root, "gc", "--prune=now", "--quiet") == ""


def commit_again_and_again(path: Path, number: int, count: int, failures: list[str]) -> None:
    """What takes a while to be referenced: a blob, then a tree, then a commit, as any program makes them."""
    git(path, "switch", "--quiet", "-c", f"branch-{number}")
    environ = scrub(environment()) | program_environment(Identity(f"agent-{number}", "a@example.invalid"))
    script = "echo $1 > f.$1; git add f.$1; git commit -q -m $1; git stash list; git log -1 --format=%H"
    for step in range(count):
        done = subprocess.run(
            ["sh", "-ec", script, "sh", str(step)], cwd=path, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            failures.append(done.stderr)


def prune_beside_committers(root: Path, committers: int, commits: int) -> tuple[int, list[str]]:
    """How often `gc --prune=now` ran beside so many committers, and what failed of theirs."""
    failures: list[str] = []
    threads = []
    for number in range(committers):
        path = root.parent / f"worktree-{number}"
        git(root, "worktree", "add", "--quiet", "--detach", str(path))
        threads.append(threading.Thread(target=commit_again_and_again, args=(path, number, commits, failures)))
    for thread in threads:
        thread.start()
    ran = 0
    while any(thread.is_alive() for thread in threads):
        attempt_git(root, "gc", "--quiet", "--prune=now")
        attempt_git(root, "pack-refs", "--all")
        ran += 1
    for thread in threads:
        thread.join()
    return ran, failures


@pytest.mark.parametrize(
    ("committers", "commits"), [(3, 12), pytest.param(8, 200, marks=[pytest.mark.large, pytest.mark.timeout(0)])]
)
def test_somebodys_gc_prunes_nothing_that_workers_commit(repository, tmp_path, committers, commits):
    protect(repository, tmp_path / "note")
    ran, failures = prune_beside_committers(repository.root, committers, commits)
    assert ran > 0
    assert failures == []
    assert attempt_git(repository.root, "fsck", "--strict", "--no-dangling").returncode == 0
    for number in range(committers):
        assert int(git(repository.root, "rev-list", "--count", f"main..branch-{number}")) == commits


def test_a_gc_that_began_before_is_waited_for(repository, tmp_path, monkeypatch):
    """It does not know of the protection: what it prunes may be what the first worker is about to commit."""
    lock = repository.git_dir / "gc.pid"
    lock.write_text(f"{os.getpid()} {os.uname().nodename}")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert setting(repository) == "1"
        if len(pauses) == 3:
            lock.unlink()

    monkeypatch.setattr("parallel_loop.worktrees.precious.time.sleep", pause)
    protect(repository, tmp_path / "note")
    assert len(pauses) == 3


@pytest.mark.parametrize("said", ["", "garbage", "999999999 {host}", "{pid} elsewhere"])
def test_a_gc_that_is_dead_or_on_another_machine_is_not_waited_for(repository, tmp_path, monkeypatch, said):
    host = os.uname().nodename
    (repository.git_dir / "gc.pid").write_text(said.format(host=host, pid=os.getpid()))
    monkeypatch.setattr("parallel_loop.worktrees.precious.time.sleep", None)
    protect(repository, tmp_path / "note")
