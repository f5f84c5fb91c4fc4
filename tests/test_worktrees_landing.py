"""Candidates, the landing branch, and the user's branch that follows it without touching what the user has."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees import landing as landing_module
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.landing import Candidate, Conflict, LandingBranch, Superseded
from parallel_loop.worktrees.locks import LockTimeout, hold
from support.repository import commit, git, make_empty_repository, write
from support.worktrees import IDENTITY, Place, make_place

AWKWARD = "ü \"q\" 'x'\nline"


@pytest.fixture
def place(tmp_path) -> Place:
    return make_place(tmp_path / "repo")


@pytest.fixture
def landing(place) -> LandingBranch:
    made = LandingBranch(place.repository, place.pool.ensure("landing"), IDENTITY)
    assert made.ensure(place.start) == place.start
    return made


def branch(place: Place, name: str, files: dict[str, str | bytes]) -> str:
    """A branch from the first commit, made in the agent's worktree."""
    git(place.worktree.path, "switch", "-q", "-C", name, place.start)
    return commit(place.worktree.path, files, name)


def candidate(landing: LandingBranch, sha: str) -> Candidate:
    made = landing.merge(sha, f"Merge {sha}")
    assert isinstance(made, Candidate)
    return made


def test_the_branch_is_made_once(place, landing):
    other = commit(place.root, {"f.txt": "newer\n"})
    assert landing.ensure(other) == place.start == landing.tip()


def test_the_slower_of_two_that_make_the_branch_takes_the_other_ones(place, landing, monkeypatch):
    first = git(place.root, "rev-parse", "parallel-loop/landed")
    looked = iter([None])
    monkeypatch.setattr(landing_module, "resolve", lambda git, name: next(looked, first))
    assert landing.ensure(commit(place.root, {"later": "1"})) == first


def test_branches_land_one_after_the_other(place, landing):
    one, two = branch(place, "one", {"one": "1"}), branch(place, "two", {"two": "2"})
    for sha in (one, two):
        assert not landing.is_landed(sha)
        made = candidate(landing, sha)
        landing.check_out(made.commit)
        assert landing.advance(made)
        assert landing.is_landed(sha)
    assert {"one", "two"} <= place.names(landing.tip())
    assert git(place.root, "log", "-1", "--format=%an %s %P", landing.tip()).startswith(f"agent-1 Merge {two} ")
    assert landing.candidates_left() == []
    assert git(place.root, "rev-parse", "main") == place.start


def test_a_candidate_costs_few_git_commands(place, landing, monkeypatch):
    sha = branch(place, "one", {"one": "1"})
    calls: list[str] = []
    real = Git.run
    monkeypatch.setattr(
        Git, "run", lambda self, *argv, **options: (calls.append(argv[0]), real(self, *argv, **options))[1]
    )
    candidate(landing, sha)
    assert calls == ["rev-parse", "merge-tree", "commit-tree", "update-ref"]


def test_git_is_asked_for_the_tip_only_when_the_branch_is_not_where_it_was(place, landing, monkeypatch):
    one, two = (branch(place, name, {name: "1"}) for name in ("one", "two"))
    made = candidate(landing, one)
    assert landing.advance(made)
    asked: list[tuple[str, ...]] = []
    real = Git.run

    def counted(self, *argv, **options):
        asked.append(argv)
        return real(self, *argv, **options)

    monkeypatch.setattr(Git, "run", counted)
    assert landing.tip() == made.commit
    assert (landing.look().commit, landing.look().tree) == (made.commit, made.tree)
    assert asked == []
    git(place.root, "branch", "-qf", "parallel-loop/landed", two)
    assert landing.look().tree == git(place.root, "rev-parse", f"{two}^{{tree}}")
    git(place.root, "pack-refs", "--all")
    assert landing.tip() == two
    git(place.root, "branch", "-qD", "parallel-loop/landed")
    with pytest.raises(GitError):
        landing.look()


def test_a_candidate_is_held_by_a_ref_until_it_is_abandoned(place, landing):
    made = candidate(landing, branch(place, "one", {"one": "1"}))
    assert landing.candidates_left() == [made.commit]
    git(place.root, "gc", "-q", "--prune=now")
    landing.check_out(made.commit)
    landing.abandon(made)
    landing.abandon(made)
    assert landing.candidates_left() == []


def test_a_candidate_made_on_an_older_tip_does_not_land(place, landing):
    first = candidate(landing, branch(place, "one", {"one": "1"}))
    second = candidate(landing, branch(place, "two", {"two": "2"}))
    assert landing.advance(first)
    assert not landing.advance(second)
    assert landing.tip() == first.commit
    assert landing.advance(first), "a step that was made before a kill counts as made"


def test_what_a_later_attempt_has_begun_to_replace_does_not_land(place, landing):
    made = candidate(landing, branch(place, "one/1", {"one": "1"}))
    branch(place, "one/2", {"one": "2"})
    assert not landing.advance(made, heirs=["one/2"])
    assert landing.tip() == place.start
    assert landing.advance(made, heirs=["one/3"])


def test_who_was_superseded_lands_nothing_any_more(place, landing):
    landing.take_over()
    first = candidate(landing, branch(place, "one", {"one": "1"}))
    assert landing.advance(first)
    late = candidate(landing, branch(place, "two", {"two": "2"}))
    successor = LandingBranch(place.repository, place.pool.ensure("landing"), IDENTITY)
    successor.take_over()
    with pytest.raises(Superseded, match="another process lands now"):
        landing.advance(late)
    assert landing.tip() == first.commit
    assert landing.advance(first), "what was landed before still counts as landed"
    assert successor.advance(candidate(successor, branch(place, "three", {"three": "3"})))


def test_whoever_takes_over_removes_the_locks_that_a_killed_git_left(place, landing):
    left = candidate(landing, branch(place, "one", {"one": "1"}))
    refs = place.root / ".git" / "refs"
    locks = [refs / "parallel-loop/lander.lock", refs / "heads/parallel-loop/landed.lock"]
    locks.append(refs / "parallel-loop/candidate" / f"{left.commit}.lock")
    theirs = refs / "heads/main.lock"
    for lock in (*locks, theirs):
        lock.touch()
    landing.take_over()
    assert not any(lock.exists() for lock in locks)
    assert theirs.exists(), "what others may write is not ours to free"
    theirs.unlink()
    assert landing.advance(left)


def test_a_lock_is_left_alone_while_a_git_of_the_landing_worktree_lives(place, landing):
    lock = place.root / ".git" / "refs/parallel-loop/lander.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    worktree = place.pool.ensure("landing")
    with hold(worktree.git_dir / "parallel-loop.lease", shared=True), pytest.raises(LockTimeout):
        worktree.drop_ref_locks("refs/parallel-loop/lander", timeout_seconds=0)
    assert lock.exists()


def test_a_lock_left_on_the_branch_is_an_error_and_not_a_lost_race(place, landing):
    made = candidate(landing, branch(place, "one", {"one": "1"}))
    (place.root / ".git" / "refs/heads/parallel-loop/landed.lock").touch()
    with pytest.raises(GitError, match=r"landed\.lock"):
        landing.advance(made)


def test_a_conflict_names_the_paths_and_changes_nothing(place, landing):
    landing.advance(candidate(landing, branch(place, "one", {"f.txt": "1\n", AWKWARD: "1\n"})))
    tip = landing.tip()
    found = landing.merge(branch(place, "two", {"f.txt": "2\n", AWKWARD: "2\n"}), "two")
    assert isinstance(found, Conflict)
    assert set(found.paths) == {"f.txt", AWKWARD}
    assert "CONFLICT (content): Merge conflict in f.txt" in found.summary
    assert landing.tip() == tip
    assert landing.candidates_left() == []


def test_a_file_deleted_here_and_changed_there_is_a_conflict(place, landing):
    git(place.worktree.path, "switch", "-q", "-C", "one", place.start)
    git(place.worktree.path, "rm", "-q", "f.txt")
    landing.advance(candidate(landing, commit(place.worktree.path, {})))
    found = landing.merge(branch(place, "two", {"f.txt": "2\n"}), "two")
    assert isinstance(found, Conflict)
    assert found.paths == ("f.txt",)
    assert "modify/delete" in found.summary


def test_the_repositorys_merge_attributes_count(place, landing):
    for name in ("one", "two", "three"):
        assert landing.advance(candidate(landing, branch(place, name, {"UNION.md": f"first\n{name}\n"})))
        write(place.pool.ensure("landing").path, {".gitattributes": ""})  # a check's leftovers
        landing.check_out(place.start)
    assert set(place.show(landing.tip(), "UNION.md").split()) == {"first", "one", "two", "three"}


def test_unrelated_histories_are_a_conflict(place, landing, tmp_path):
    other = make_empty_repository(tmp_path / "other")
    commit(other, {"x": "x"})
    git(place.root, "fetch", "-q", str(other), "main:unrelated")
    found = landing.merge("unrelated", "x")
    assert isinstance(found, Conflict)
    assert "shares no commit" in found.summary


def test_a_commit_that_does_not_exist_is_an_error_and_no_conflict(landing):
    with pytest.raises(GitError):
        landing.merge("f" * 40, "x")
