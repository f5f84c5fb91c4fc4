"""The target's remote while work lands: others push to it, it refuses, it is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.remote_talk import Answer, Patience, Talk
from parallel_loop.coordinator.target_report import RemoteReport, read_target
from parallel_loop.harness.project import Project
from parallel_loop.worktrees.remote import Trouble
from parallel_loop.worktrees.target import Blocked
from parallel_loop.worktrees.watchdog import Leash
from support.cli import call
from support.landing import a_lander, hand_over, land, landed_items, replay, scratch, tip
from support.proc import command_lines, mentioning
from support.remotes import add_remote, elsewhere, push_from_elsewhere
from support.repository import attempt_git, commit, git
from support.runs import add, drain, happened, make_project, running, states, waits_for
from support.waiting import eventually

CONFIG = "remote: origin\nchecks: ['test ! -e mine -o ! -e theirs']"
SUMS = "remote: origin\nchecks: ['test -e README']"


def report(project: Project) -> RemoteReport:
    found = read_target(project.state.root)
    assert found is not None
    assert found.remote is not None
    return found.remote


@contextmanager
def settling(project: Project) -> Iterator[Lander]:
    """A lander that pushes what landed in the block before it ends."""
    with a_lander(project) as lander:
        yield lander
        lander.land_all()
        lander.look_at_target()
        lander.settle()


def look_until_told(project: Project, lander: Lander) -> RemoteReport:
    """Look until there is something that a person must know of the remote."""

    def look() -> RemoteReport | None:
        lander.look_at_target()
        return report(project) if report(project).blocked else None

    return eventually(look, 30)


def test_what_landed_is_pushed_and_what_others_push_comes_in_checked(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    hand_over(project, "one", {"one": "1"})
    with settling(project):
        pass
    assert tip(project) == git(remote, "rev-parse", "main") == report(project).pushed
    with settling(project) as lander:
        lander.look_at_target()
        theirs = push_from_elsewhere(remote, {"theirs": "1"})  # after the fetch: the push is refused
        hand_over(project, "two", {"two": "2"})
        mine = commit(project.root, {"mine": "1"}, "by the user")
    assert tip(project) == git(remote, "rev-parse", "main") == tip(project, "main")
    assert landed_items(project) == ["one", "two"]
    for made in (theirs, mine):
        assert git(project.root, "merge-base", made, "parallel-loop/landed") == made
    assert (project.root / "theirs").exists()
    assert {event["target"] for event in happened(project, "target-merged")} == {"main", "main of origin"}
    assert len(happened(project, "pushed")) == 2
    replay(project, "test -e README")
    assert git(elsewhere(remote), "pull", "--ff-only", "origin", "main")


def test_nothing_is_pushed_before_something_landed_and_a_branch_that_is_missing_is_created(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    git(remote, "branch", "--move", "main", "other")
    commit(project.root, {"mine": "1"}, "by the user")
    with settling(project):
        pass
    assert attempt_git(remote, "rev-parse", "--verify", "--quiet", "main").returncode != 0
    hand_over(project, "one", {"one": "1"})
    with settling(project):
        pass
    assert git(remote, "rev-parse", "main") == tip(project)


@pytest.mark.parametrize("how", ["conflict", "check"])
def test_what_does_not_fit_is_told_and_landing_goes_on_until_a_person_merged_it(tmp_path: Path, how: str) -> None:
    project = make_project(tmp_path / "r", CONFIG)
    remote = add_remote(project)
    hand_over(project, "one", {"README" if how == "conflict" else "mine": "landed\n"})
    push_from_elsewhere(remote, {"README" if how == "conflict" else "theirs": "theirs\n"})
    theirs = git(remote, "rev-parse", "main")
    with a_lander(project) as lander:
        lander.land_all()
        told = look_until_told(project, lander)
        assert f"commit {theirs[:12]} on main of origin does not go together with what landed: " in (told.blocked or "")
        hand_over(project, "two", {"two": "2"}, base="parallel-loop/landed")
        lander.land_all()
        assert landed_items(project) == ["one", "two"]
        lander.settle()  # at once: there is no hope
    assert git(remote, "rev-parse", "main") == theirs
    [said] = current_snapshot(project).attention
    assert said.why.endswith("; landing goes on here")
    assert said.next == told.next == f"cd {project.root} && git switch main && git pull --no-rebase origin main"
    subprocess.run(["/bin/sh", "-c", told.next], check=False, capture_output=True)
    (project.root / "theirs").unlink(missing_ok=True)
    commit(project.root, {"README": "both\n"}, "merged by the user")
    with settling(project):
        pass
    assert report(project).blocked is None
    assert git(remote, "rev-parse", "main") == tip(project)


def test_a_refusal_is_told_with_the_remotes_words_and_tried_again(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'not without a ticket'\nexit 1\n")
    hook.chmod(0o755)
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        lander.land_all()
        told = look_until_told(project, lander)
        hand_over(project, "two", {"two": "2"})
        lander.land_all()
    assert "what landed cannot be pushed to origin: [remote rejected] (pre-receive hook declined)" in str(told.blocked)
    assert "not without a ticket" in str(told.blocked)
    assert told.next == f"git -C {project.root} push origin parallel-loop/landed:main"
    assert [event["why"] for event in happened(project, "push-blocked")] == [told.blocked]
    assert landed_items(project, "main") == ["one", "two"]
    hook.unlink()
    with settling(project):
        pass
    assert git(remote, "rev-parse", "main") == tip(project)


def test_a_remote_that_is_not_there_is_told_and_one_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    marker = tmp_path / "hangs"
    git(project.root, "config", "remote.origin.uploadpack", f"touch {marker}; exec tail -f {marker} #")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        lander.look_at_target()
        eventually(marker.exists, 30)
        lander.land_all()
        assert landed_items(project, "main") == ["one"]
    assert mentioning(marker) == []
    git(project.root, "config", "--unset", "remote.origin.uploadpack")
    remote.rename(tmp_path / "away.git")
    with a_lander(project) as lander:
        told = look_until_told(project, lander)
        assert not lander.look_at_target()
        lander.settle()
    assert "origin cannot be fetched from: " in str(told.blocked)
    assert told.next == f"git -C {project.root} fetch origin"


def test_what_was_taken_out_of_the_remote_is_brought_back_only_when_a_person_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    first = git(remote, "rev-parse", "main")
    hand_over(project, "one", {"one": "1"})
    with settling(project):
        pass
    git(remote, "update-ref", "refs/heads/main", first)
    hand_over(project, "two", {"two": "2"})
    with a_lander(project) as lander:
        lander.land_all()
        told = look_until_told(project, lander)
    assert "was moved back, rewritten or deleted" in str(told.blocked)
    assert git(remote, "rev-parse", "main") == first
    subprocess.run(["/bin/sh", "-c", str(told.next)], check=True)
    with settling(project):
        pass
    assert git(remote, "rev-parse", "main") == tip(project)


def test_a_landing_branch_that_is_checked_out_keeps_nothing_busy(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    add_remote(project)
    land(project)
    git(scratch(project), "checkout", "--quiet", "parallel-loop/landed")
    with a_lander(project) as lander:
        eventually(lambda: lander.look_at_target() or report(project).pushed, 30)
        assert eventually(lambda: lander.look_at_target() or lander.seconds_until_look > 1, 30)


def test_a_remote_that_goes_in_a_run_and_comes_back_gets_all_that_landed_meanwhile(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    away = tmp_path / "away.git"
    with settling(project) as lander:
        lander.look_at_target()
        lander.settle()
        hand_over(project, "one", {"one": "1"})
        remote.rename(away)
        lander.land_all()
        told = look_until_told(project, lander)
        hand_over(project, "two", {"two": "2"})
        lander.land_all()
        assert landed_items(project, "main") == ["one", "two"]
        away.rename(remote)
        theirs = push_from_elsewhere(remote, {"theirs": "1"})
        keeper = lander._keeper._remote
        assert keeper is not None
        for patience in (keeper._fetching, keeper._pushing):  # a minute has passed
            patience.until = 0.0
            assert not lander.look_at_target()
        eventually(lambda: lander.look_at_target() or report(project).blocked is None, 30)
    assert "origin" in str(told.blocked)
    assert git(remote, "rev-parse", "main") == tip(project)
    assert git(remote, "merge-base", theirs, "main") == theirs


@pytest.mark.parametrize("landing", ["made", "not made"])
def test_a_lander_killed_while_it_pushes_is_followed_by_one_that_sees_how_that_ended(
    tmp_path: Path, landing: str
) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    wait = f"cd {tmp_path}; mkdir first 2>/dev/null || exit 0; while ! test -e go; do sleep 0.02; done"
    hook = remote / "hooks" / ("post-receive" if landing == "made" else "pre-receive")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{wait}; test {hook.name} = post-receive\n")
    hook.chmod(0o755)
    add(project, "one")
    with running(project, "--agents", "1", "--drain") as run:
        eventually((tmp_path / "first").exists, 60)
        [lander] = [
            pid for pid, said in command_lines() if b"coordinator.lander" in said and pid in mentioning(tmp_path)
        ]
        os.kill(lander, signal.SIGKILL)
        (tmp_path / "go").touch()
        assert run.wait(60) == 0, run.output
    assert git(remote, "rev-parse", "main") == tip(project) == tip(project, "main")
    assert landed_items(project, "main") == ["one"]


# --- whole runs ---------------------------------------------------------------------------------------


def test_an_unknown_remote_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "remote: orign")
    add(project, "one")
    for said in ("it has none; `git remote add NAME URL` adds one", "did you mean `origin`?"):
        refused = call(project.root, "run", "--drain")
        assert (refused.code, refused.line) == (
            2,
            f"parallel-loop.yaml: remote: the repository has no remote 'orign'; {said}",
        )
        if "none" in said:
            add_remote(project)
    assert "no remote 'orign'" in call(project.root, "doctor").out
    assert states(project) == {"one": "ready"}


def test_a_run_starts_from_what_the_remote_has_and_pushes_before_it_ends(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    push_from_elsewhere(remote, {"theirs": "1"})
    add(project, "one", "cp theirs one")
    assert drain(project) == 0
    assert git(remote, "show", "main:one") == "1"
    assert git(remote, "rev-parse", "main") == tip(project, "main")
    assert current_snapshot(project).target.remote is not None


@pytest.mark.parametrize("alone", [False, True])
def test_somebody_who_pushes_all_the_time_is_never_pushed_over(tmp_path: Path, alone: bool) -> None:
    project = make_project(tmp_path / "r", SUMS + f"\nparallel_mode: {'false' if alone else 'true'}")
    remote = add_remote(project)
    for number in range(4):
        add(project, f"item-{number}")
    add(project, "last", waits_for(tmp_path / "go"))
    with running(project, "--drain") as run:
        theirs = [push_from_elsewhere_whoever_is_first(remote, number) for number in range(4)]
        (tmp_path / "go").touch()
        assert run.wait(60) == 0, run.output
    assert sorted(landed_items(project)) == ["item-0", "item-1", "item-2", "item-3", "last"]
    assert git(remote, "rev-parse", "main") == tip(project)
    for made in theirs:
        assert git(remote, "merge-base", made, "main") == made
    replay(project, "test -e README")


def push_from_elsewhere_whoever_is_first(remote: Path, number: int) -> str:
    clone = elsewhere(remote)

    def push() -> str:
        git(clone, "fetch", "--quiet", "origin", "main")
        git(clone, "reset", "--quiet", "--hard", "FETCH_HEAD")
        made = commit(clone, {f"theirs-{number}": "x"}, f"theirs {number}")
        return made if attempt_git(clone, "push", "--quiet", "origin", "HEAD:main").returncode == 0 else ""

    return eventually(push, 30)


def test_a_run_begins_without_a_remote_that_cannot_be_reached(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", SUMS)
    remote = add_remote(project)
    remote.rename(tmp_path / "away.git")
    add(project, "one")
    ended = call(project.root, "run", "--drain", "--agents", "1")
    assert ended.code == 0
    assert "main could not be fetched from origin, work starts from what is here: " in ended.err
    assert states(project) == {"one": "done"}


def test_a_shallow_clone_takes_in_and_gives_out(tmp_path: Path) -> None:
    origin = make_project(tmp_path / "o", SUMS)
    remote = add_remote(origin)
    push_from_elsewhere(remote, {"more": "1"})
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{remote}", str(tmp_path / "r"))
    for key in ("user.name", "user.email"):
        git(tmp_path / "r", "config", key, "x")
    project = Project.open(tmp_path / "r", dict(origin.environ))
    project.state.create()
    hand_over(project, "one", {"one": "1"})
    push_from_elsewhere(remote, {"theirs": "1"})
    with settling(project):
        pass
    assert git(remote, "rev-parse", "main") == tip(project)
    assert git(remote, "show", "main:theirs") == "1"


def test_what_goes_wrong_in_the_thread_is_an_answer_and_patience_grows_with_each_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_leash: Leash) -> Answer:
        raise OSError("no room")

    talk = Talk(fail, is_push=False)
    talk.begin()
    talk.join()
    assert talk.answer == Trouble("no room")
    monkeypatch.setattr(threading.Thread, "start", lambda _self: (_ for _ in ()).throw(RuntimeError("no thread")))
    talk = Talk(fail, is_push=True)
    talk.begin()
    talk.end()
    assert talk.answer == Trouble("no thread")

    patience, pauses = Patience(), []
    for _ in range(7):
        patience.fail(Blocked("why", "command"))
        pauses.append(round((patience.until - time.monotonic()) / 60))
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    patience.succeed()
    assert (patience.blocked, patience.until) == (None, 0.0)
