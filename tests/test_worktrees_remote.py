"""Fetching from and pushing to a remote, with real git and remotes on the disk."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.remote import Fetched, Moved, Pushed, RemoteBranch, Rewound, Trouble, remote_names
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.watchdog import Leash
from support.proc import mentioning
from support.remotes import elsewhere, push_from_elsewhere
from support.repository import attempt_git, commit, git, make_repository
from support.waiting import eventually


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_repository(tmp_path / "r")
    git(tmp_path, "clone", "--quiet", "--bare", str(root), str(tmp_path / "origin.git"))
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    return root


@pytest.fixture
def origin(root: Path) -> Path:
    return root.parent / "origin.git"


@pytest.fixture
def remote(root: Path) -> RemoteBranch:
    return RemoteBranch(Repository.open(root), "origin", "main")


def head(path: Path, name: str = "main") -> str:
    return git(path, "rev-parse", name)


def test_what_is_new_is_fetched_and_nothing_of_the_users_is_touched(
    root: Path, origin: Path, remote: RemoteBranch
) -> None:
    assert remote_names(Git(root)) == ["origin"]
    assert remote.known_tip is None
    assert remote.fetch() == Fetched(head(root))
    theirs = push_from_elsewhere(origin, {"theirs": "1"})
    git(elsewhere(origin), "tag", "-am", "v1", "v1")
    git(elsewhere(origin), "push", "--quiet", "origin", "v1")
    before = git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes")
    assert remote.fetch() == Fetched(theirs)
    assert remote.known_tip == theirs
    assert git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/remotes") == before
    assert not (root / ".git" / "FETCH_HEAD").exists()


def test_a_push_moves_the_branch_only_from_where_it_was_seen(root: Path, origin: Path, remote: RemoteBranch) -> None:
    old = head(root)
    mine = commit(root, {"mine": "1"})
    assert remote.push(mine, old) == Pushed(mine)
    assert head(origin) == mine == remote.known_tip
    theirs = push_from_elsewhere(origin, {"theirs": "1"})
    mine = commit(root, {"mine": "2"})
    assert remote.push(mine, head(root, "HEAD~1")) == Moved()
    assert remote.push(mine, theirs) == Moved(), "it does not contain that"
    assert head(origin) == theirs
    git(origin, "update-ref", "refs/heads/main", old)  # back, behind what was seen: a plain push would bring it back
    assert remote.push(mine, head(root, "HEAD~1")) == Moved()
    assert head(origin) == old


def test_a_branch_that_is_not_there_is_created_by_the_push_and_only_if_nobody_was_first(
    root: Path, origin: Path
) -> None:
    remote = RemoteBranch(Repository.open(root), "origin", "team/next")
    assert remote.fetch() == Fetched(None)
    git(origin, "branch", "team/next", "main")
    assert remote.push(commit(root, {"a": "1"}), None) == Moved()
    git(origin, "branch", "-D", "team/next")
    assert remote.push(head(root), None) == Pushed(head(root))
    assert head(origin, "team/next") == head(root)


@pytest.mark.parametrize("how", ["moved back", "rewritten", "deleted"])
def test_what_was_taken_out_of_the_remote_is_told_until_a_person_has_decided(
    root: Path, origin: Path, remote: RemoteBranch, how: str
) -> None:
    first = head(root)
    had = commit(root, {"secret": "1"})
    assert remote.push(had, first) == Pushed(had)
    if how == "deleted":
        git(origin, "update-ref", "-d", "refs/heads/main")
    else:
        git(origin, "update-ref", "refs/heads/main", first)
    if how == "rewritten":
        push_from_elsewhere(origin, {"other": "1"})
    assert remote.fetch() == Rewound(had) == remote.fetch()
    git(root, "update-ref", "-d", remote.trusted)
    assert remote.fetch() == Fetched(None if how == "deleted" else head(origin))


def test_no_hook_of_the_user_runs(root: Path, remote: RemoteBranch) -> None:
    hook = root / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    old = head(root)
    made = commit(root, {"a": "1"})
    assert remote.push(made, old) == Pushed(made)


def test_a_refusal_of_the_remote_is_told_in_its_words(root: Path, origin: Path, remote: RemoteBranch) -> None:
    hook = origin / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH006: main is protected'\nexit 1\n")
    hook.chmod(0o755)
    old = head(root)
    refused = remote.push(commit(root, {"a": "1"}), old)
    assert refused == Trouble("[remote rejected] (pre-receive hook declined); GH006: main is protected")


def test_a_branch_that_is_checked_out_at_the_remote_is_not_pushed_to(tmp_path: Path) -> None:
    theirs = make_repository(tmp_path / "theirs")
    git(tmp_path, "clone", "--quiet", str(theirs), str(tmp_path / "ours"))
    for key in ("user.name", "user.email"):
        git(tmp_path / "ours", "config", key, "x")
    remote = RemoteBranch(Repository.open(tmp_path / "ours"), "origin", "main")
    refused = remote.push(commit(tmp_path / "ours", {"a": "1"}), head(theirs))
    assert isinstance(refused, Trouble)
    assert refused.said.startswith("[remote rejected] (branch is currently checked out); ")


def test_a_remote_that_cannot_be_reached_is_told_in_the_words_of_git(root: Path, remote: RemoteBranch) -> None:
    git(root, "remote", "set-url", "origin", str(root.parent / "nowhere.git"))
    for answer in (remote.fetch(), remote.push(commit(root, {"a": "1"}), None)):
        assert isinstance(answer, Trouble)
        assert "nowhere.git' does not appear to be a git repository" in answer.said


def test_a_remote_that_does_not_answer_is_left_in_time_or_when_told_to(root: Path, remote: RemoteBranch) -> None:
    marker = root.parent / "hangs"
    git(root, "config", "remote.origin.uploadpack", f"touch {marker}; exec tail -f {marker} #")
    late = remote.fetch(seconds=0.3)
    assert isinstance(late, Trouble)
    assert "ended after 0.3 s" in late.said
    leash, answers = Leash(), list[object]()
    thread = threading.Thread(target=lambda: answers.append(remote.fetch(leash)))
    thread.start()
    eventually(lambda: mentioning(marker), 20)
    leash.pull()
    thread.join(20)
    assert isinstance(answers[0], Trouble)
    assert isinstance(remote.fetch(leash), Trouble), "pulled is pulled"
    assert not mentioning(marker)


def test_a_shallow_clone_fetches_and_pushes(root: Path, origin: Path) -> None:
    push_from_elsewhere(origin, {"more": "1"})
    shallow = root.parent / "shallow"
    git(root.parent, "clone", "--quiet", "--depth", "1", f"file://{origin}", str(shallow))
    for key in ("user.name", "user.email"):
        git(shallow, "config", key, "x")
    remote = RemoteBranch(Repository.open(shallow), "origin", "main")
    theirs = push_from_elsewhere(origin, {"theirs": "1"})
    assert remote.fetch() == Fetched(theirs)
    git(shallow, "merge", "--quiet", "--ff-only", theirs)
    made = commit(shallow, {"mine": "1"})
    assert remote.push(made, theirs) == Pushed(made)
    assert head(origin) == made


# --- kills and interruptions --------------------------------------------------------------------------


def plant(remote: Path, name: str, script: str) -> Path:
    """A hook of the remote."""
    hook = remote / "hooks" / name
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)
    return hook


@pytest.mark.parametrize("hook", ["pre-receive", "update", "post-receive"])
@pytest.mark.parametrize("victim", ["receiver", "pusher"])
def test_a_push_that_is_killed_in_the_middle_has_been_made_or_not_and_the_next_sees_which(
    root: Path, origin: Path, remote: RemoteBranch, hook: str, victim: str
) -> None:
    """The receiver is the parent of the hook, the pusher the parent of that."""
    old, made = head(root), commit(root, {"a": "1"})
    shell = "$PPID" if victim == "receiver" else "$(ps -o ppid= -p $PPID)"
    planted = plant(origin, hook, f"kill -9 {shell}; sleep 0.1")
    answer = remote.push(made, old)
    assert isinstance(answer, Trouble | Pushed)
    planted.unlink()
    for lock in origin.rglob("*.lock"):  # of the receiver's own git: its host removes them
        lock.unlink()
    is_there = head(origin) == made
    if victim == "receiver":
        assert is_there == (hook == "post-receive")
    assert head(origin) in {old, made}
    again = RemoteBranch(Repository.open(root), "origin", "main")
    assert again.fetch() == Fetched(made if is_there else old)
    assert again.push(made, head(origin)) == Pushed(made)
    git(origin, "fsck", "--strict", "--no-dangling")


def test_who_pushes_while_our_push_is_under_way_is_first(root: Path, origin: Path, remote: RemoteBranch) -> None:
    old, made = head(root), commit(root, {"a": "1"})
    theirs = git(
        origin,
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@y.invalid",
        "commit-tree",
        f"{old}^{{tree}}",
        "-p",
        old,
        "-m",
        "t",
    )
    # The environment of a hook keeps what was received apart, and no ref may be moved there.
    plant(origin, "pre-receive", f"unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main {theirs}")
    assert remote.push(made, old) == Moved()
    assert head(origin) == theirs
    (origin / "hooks" / "pre-receive").unlink()
    assert remote.fetch() == Fetched(theirs)
    assert remote.push(made, old) == Moved(), "still not over theirs"
    assert head(origin) == theirs


def test_a_push_that_takes_long_is_ended_when_nobody_waits_for_it(
    root: Path, origin: Path, remote: RemoteBranch
) -> None:
    old, made, marker = head(root), commit(root, {"a": "1"}), root.parent / "hangs"
    plant(origin, "pre-receive", f"touch {marker}; exec tail -f {marker}")
    leash, answers = Leash(), list[object]()
    thread = threading.Thread(target=lambda: answers.append(remote.push(made, old, leash)))
    thread.start()
    eventually(marker.exists, 20)
    leash.pull()
    thread.join(20)
    assert isinstance(answers[0], Trouble)
    eventually(lambda: not mentioning(marker), 20)
    assert head(origin) == old
    (origin / "hooks" / "pre-receive").unlink()
    assert RemoteBranch(Repository.open(root), "origin", "main").push(made, old) == Pushed(made)


@pytest.fixture
def served(origin: Path) -> Iterator[str]:
    """The address of a daemon that serves the remote over the network of this machine."""
    if not Path(git(origin, "--exec-path"), "git-daemon").exists():
        pytest.skip("this git comes without its daemon")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--reuseaddr", "--export-all", "--enable=receive-pack", f"--base-path={origin.parent}")
    argv = ["git", "daemon", *options, "--listen=127.0.0.1", f"--port={port}"]
    daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
    address = f"git://127.0.0.1:{port}/{origin.name}"
    try:
        eventually(lambda: attempt_git(origin, "ls-remote", address).returncode == 0, 20)
        yield address
    finally:
        os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()


def test_over_the_network_a_server_that_dies_in_the_middle_is_trouble_and_then_tried_again(
    root: Path, origin: Path, served: str
) -> None:
    git(root, "remote", "set-url", "origin", served)
    remote = RemoteBranch(Repository.open(root), "origin", "main")
    theirs = push_from_elsewhere(origin, {"theirs": "1"})
    assert remote.fetch() == Fetched(theirs)
    git(root, "reset", "--quiet", "--hard", theirs)
    made = commit(root, {"a": "1"})
    hook = plant(origin, "pre-receive", "kill -9 $PPID")
    answer = remote.push(made, theirs)
    assert isinstance(answer, Trouble)
    assert head(origin) == theirs
    hook.unlink()
    assert remote.push(made, theirs) == Pushed(made)
    assert head(origin) == made == remote.known_tip
    plant(origin, "update", "echo 'protected branch'; exit 1")
    answer = remote.push(commit(root, {"a": "2"}), made)
    assert isinstance(answer, Trouble)
    assert "hook declined" in answer.said
    assert "protected branch" in answer.said
