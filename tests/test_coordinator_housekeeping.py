"""What the lander tidies: branches that nobody needs, and nothing that somebody may still need."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.control import Wanted, write_wanted
from parallel_loop.coordinator.housekeeping import Housekeeper
from parallel_loop.coordinator.spent_branches import SpentBranches
from parallel_loop.harness.child import hold_for_life
from parallel_loop.harness.configuration.settings import Salvage
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Session
from parallel_loop.queue import atomic
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.requests import cancel, retry
from parallel_loop.queue.taking import Taker
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.pool import Pool
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE, keep
from support.landing import hand_over, land, make_branch
from support.repository import commit, git
from support.runs import add, happened, make_project
from support.taking import claimed


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "repo")


def housekeeper(project: Project) -> Housekeeper:
    repository = Repository.open(project.root)
    pool = Pool(repository, project.worktrees, project.state.worktrees_lock)
    return Housekeeper(project, "main", repository, pool, Git(project.root))


def branches(project: Project) -> set[str]:
    return set(
        git(project.root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/heads/parallel-loop/item").split()
    )


def salvaged(project: Project) -> dict[str, str]:
    listed = git(project.root, "for-each-ref", "--format=%(refname:lstrip=3) %(objectname)", SALVAGE)
    return dict(line.split(" ") for line in listed.split("\n") if line)


def attempt(project: Project, item: str, kind: str, **fields: object) -> str:
    """One attempt at the item, with a branch of its own that nothing else has, ended by a record of that kind."""
    if project.queue.entry(item) is None:
        add(project, item)
    taker = Taker(project.queue, Owner("agent-1", os.getpid()))
    claim = claimed(taker)
    branch = f"parallel-loop/item/{item}/{claim.attempt}"
    made = make_branch(project, branch, {f"{item}-{claim.attempt}": "work\n"})
    named = {"branch": branch, "commit": made} | fields
    assert taker.end(claim, Record(kind=kind, at=utc_now(), agent="agent-1", **named))
    taker.close()
    return made


def test_what_landed_goes_and_what_was_tried_before_is_saved_first(project: Project) -> None:
    first = attempt(project, "fix", "released", outcome="check-failed")
    hand_over(project, "fix", {"done": "x\n"})
    land(project)
    assert branches(project) == set()
    assert salvaged(project) == {"fix/1": first}
    (event,) = happened(project, "salvaged")
    assert (event["item"], event["attempt"], event["ref"]) == ("fix", 1, f"{SALVAGE}/fix/1")
    assert not (project.root / ".git/refs/heads/parallel-loop/item/fix").exists()


@pytest.mark.parametrize("land_as", ["merge", "squash", "rebase"])
def test_what_landed_in_whatever_form_needs_no_salvage(tmp_path: Path, land_as: str) -> None:
    project = make_project(tmp_path / "repo", f"land_as: {land_as}\n")
    hand_over(project, "fix", {"a": "x\n", "b": "y\n"})
    hand_over(project, "other", {"c": "x\n"})
    land(project)
    assert (branches(project), salvaged(project)) == (set(), {})


@pytest.mark.parametrize("kind", ["released", "failed", "waiting"])
def test_branches_of_items_that_have_not_ended_well_stay(project: Project, kind: str) -> None:
    attempt(project, "fix", kind, outcome="failed")
    housekeeper(project).tidy()
    assert branches(project) == {"fix/1"}
    assert salvaged(project) == {}


def test_branches_of_an_item_in_work_and_of_no_item_stay(project: Project) -> None:
    add(project, "fix")
    make_branch(project, "parallel-loop/item/fix/1", {"a": "x\n"})
    make_branch(project, "parallel-loop/item/unknown/1", {"b": "x\n"})
    make_branch(project, "parallel-loop/item/-odd/name", {"c": "x\n"})
    taker = Taker(project.queue, Owner("agent-1", os.getpid()))
    assert taker.take() is not None
    housekeeper(project).tidy()
    assert branches(project) == {"fix/1", "unknown/1", "-odd/name"}
    taker.close()


def test_a_cancelled_item_leaves_salvage_and_can_be_retried(project: Project) -> None:
    made = attempt(project, "fix", "released", outcome="failed")
    cancel(project.queue, "fix")
    housekeeper(project).tidy()
    assert branches(project) == set()
    assert salvaged(project) == {"fix/1": made}
    retry(project.queue, "fix")
    attempt(project, "fix", "released", outcome="failed")
    housekeeper(project).tidy()
    assert branches(project) == {"fix/2"}


def test_a_branch_that_a_worktree_has_checked_out_stays_until_it_is_left(project: Project, tmp_path: Path) -> None:
    attempt(project, "fix", "released", outcome="failed")
    git(project.root, "worktree", "add", "-q", str(tmp_path / "theirs"), "parallel-loop/item/fix/1")
    cancel(project.queue, "fix")
    housekeeper(project).tidy()
    assert branches(project) == {"fix/1"}
    git(tmp_path / "theirs", "switch", "-q", "--detach")
    housekeeper(project).tidy()
    assert branches(project) == set()


def test_done_but_never_landed_stays_until_the_user_lands_it_in_any_way(project: Project) -> None:
    made = attempt(project, "fix", "done", outcome="done")
    housekeeper(project).tidy()
    assert branches(project) == {"fix/1"}
    commit(project.root, {"other": "x\n"})
    git(project.root, "cherry-pick", made)
    housekeeper(project).tidy()
    assert (branches(project), salvaged(project)) == (set(), {})


def test_while_the_target_cannot_follow_nothing_goes(project: Project) -> None:
    hand_over(project, "fix", {"README": "landed\n"})
    (project.root / "README").write_text("the user's\n")
    report = land(project)
    assert report.blocked
    assert branches(project) == {"fix/1"}
    git(project.root, "checkout", "README")
    land(project)
    assert branches(project) == set()


def test_what_the_program_committed_after_it_was_handed_over_is_saved(project: Project) -> None:
    hand_over(project, "fix", {"a": "x\n"})
    late = make_branch(project, "parallel-loop/item/fix/1", {"late": "x\n"}, base="parallel-loop/item/fix/1")
    land(project)
    assert (branches(project), salvaged(project)) == (set(), {"fix/1": late})


def test_only_so_many_patches_are_compared_at_once_and_the_rest_later(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallel_loop.coordinator.spent_branches._MOST_COMPARED", 2)
    for number in range(3):
        attempt(project, f"never-{number}", "done", outcome="done")
    picked = attempt(project, "zpicked", "done", outcome="done")
    commit(project.root, {"other": "x\n"})
    git(project.root, "cherry-pick", picked)
    found = SpentBranches(project, "main", Repository.open(project.root))
    assert found.find() == []
    (spent,) = found.find()
    assert (spent.branch.item, spent.keep) == ("zpicked", None)


def test_a_git_that_cannot_hinders_nothing_and_loses_nothing(project: Project) -> None:
    attempt(project, "fix", "released", outcome="failed")
    cancel(project.queue, "fix")
    lock = project.root / ".git/packed-refs.lock"
    lock.touch()
    git(project.root, "config", "core.packedRefsTimeout", "0")  # git would wait for a second each time
    keeper = housekeeper(project)
    keeper.tidy()
    assert branches(project) == {"fix/1"}
    lock.unlink()
    keeper.tidy()
    assert branches(project) == set()


def test_saved_work_is_let_go_of_by_age_only_when_that_is_set(project: Project) -> None:
    attempt(project, "fix", "released", outcome="failed")
    cancel(project.queue, "fix")
    housekeeper(project).tidy()
    log = project.root / ".git/logs" / SALVAGE / "fix/1"
    words = log.read_text().split(" ")
    at = next(index for index, word in enumerate(words) if word.endswith(">")) + 1
    words[at] = str(int(words[at]) - 100 * 86400)
    log.write_text(" ".join(words))
    housekeeper(project).tidy()
    assert set(salvaged(project)) == {"fix/1"}
    keep(Git(project.root), f"{SALVAGE}/new/1", git(project.root, "rev-parse", "main"))
    config = msgspec.structs.replace(project.config, salvage=Salvage(keep_seconds=90 * 86400))
    housekeeper(project.reconfigured(config)).tidy()
    assert set(salvaged(project)) == {"new/1"}
    (event,) = happened(project, "salvage-pruned")
    assert event["ref"] == f"{SALVAGE}/fix/1"


def leave_work(project: Project, name: str, item: str) -> Path:
    """What a worker leaves that is killed in the middle of an attempt."""
    pool = Pool(Repository.open(project.root), project.worktrees, project.state.worktrees_lock)
    worktree = pool.ensure(name)
    agent = project.state.agent(name)
    agent.create()
    git(worktree.path, "switch", "-q", "-c", f"parallel-loop/item/{item}/1")
    atomic.replace_file(agent.session, msgspec.json.encode(Session(item, 1, f"parallel-loop/item/{item}/1")))
    (worktree.path / "new").write_text("work\n")
    return worktree.path


def test_what_lies_where_no_worker_will_come_is_saved(project: Project) -> None:
    unwanted, wanted = leave_work(project, "agent-3", "three"), leave_work(project, "agent-1", "one")
    write_wanted(project.state, Wanted(agents=2))
    keeper = housekeeper(project)
    descriptor = hold_for_life(project.state.agent("agent-3").lock, "agent-3")
    keeper.tidy()
    assert salvaged(project) == {}  # its worker lives: told to finish, say
    os.close(descriptor)
    keeper.tidy()
    assert set(salvaged(project)) == {"three/1"}
    assert git(project.root, "show", f"{SALVAGE}/three/1:new") == "work"
    assert git(unwanted, "status", "--porcelain", "--branch").split("\n") == ["## HEAD (no branch)", "?? new"]
    assert "one/1" in git(wanted, "status", "--porcelain", "--branch")
    keeper.tidy()
    assert len(happened(project, "salvaged")) == 1
