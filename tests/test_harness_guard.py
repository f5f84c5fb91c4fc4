"""What programs do to what all worktrees share, seen by the workers and by who starts and ends a run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.snapshot import Attention
from parallel_loop.harness import guard
from parallel_loop.harness.guard import close_run, open_run
from parallel_loop.worktrees.evidence import forget_trace
from parallel_loop.worktrees.repository import Repository
from support.harness import Workshop, make_workshop
from support.landing import hand_over, land
from support.repository import attempt_git, git, write
from support.runs import make_project
from support.waiting import eventually


@pytest.fixture
def shop(tmp_path: Path, alone: None) -> Iterator[Workshop]:
    shop = make_workshop(tmp_path / "repo")
    yield shop
    for pid in shop.mark.living():
        os.kill(pid, signal.SIGKILL)


def happened(shop: Workshop, *names: str) -> list[str]:
    lines = map(json.loads, shop.project.state.events.read_bytes().splitlines())
    return [line["why"] for line in lines if line["event"] in names]


def refs(shop: Workshop) -> set[str]:
    listed = set(git(shop.root, "for-each-ref", "--format=%(refname)").split())
    return {ref for ref in listed if not ref.startswith(("refs/parallel-loop/", "refs/heads/parallel-loop/"))}


ROOT = "$PARALLEL_LOOP_WORKTREE/../../.."
CONTAMINANTS = {
    "stash": "echo x > x; git add x; git stash -q",
    "configuration": "git config user.name Evil; git config core.autocrlf true",
    "planted hook": f"echo exit 1 > {ROOT}/.git/hooks/pre-commit; chmod +x {ROOT}/.git/hooks/pre-commit",
    "info/exclude": f"echo '*.txt' >> {ROOT}/.git/info/exclude",
    "replace ref": "git commit -q --allow-empty -m x; git replace --graft HEAD",
    "note": "git notes add -m n main",
    "branch": "git branch theirs",
    "tag": "git tag theirs",
    "HEAD on a branch of its own": "git switch -q -c theirs; git commit -q --allow-empty -m x",
}


@pytest.mark.parametrize("name", CONTAMINANTS)
def test_nothing_that_all_worktrees_share_reaches_the_next_item(shop: Workshop, name: str) -> None:
    config = git(shop.root, "config", "--local", "--list")
    before = refs(shop)
    shop.work("one", CONTAMINANTS[name])
    record = shop.work(
        "two", "git config user.name; git stash list; git tag; git notes; git replace; echo two > two.txt"
    )
    assert git(shop.root, "rev-list", "--count", f"main..{record.commit}") == "1"
    assert shop.log("two").strip() == "Tess Ter"
    assert refs(shop) == before
    assert sorted(git(shop.root, "config", "--local", "--list").split("\n")) == sorted(config.split("\n"))
    assert happened(shop, "security", "shared-changed", "set-aside")
    write(shop.root, {"mine.txt": "mine"})
    git(shop.root, "add", "mine.txt")
    git(shop.root, "commit", "-q", "-m", "mine")  # no hook in the way


@pytest.mark.parametrize("put", ["rm {0}", "rm {0}; mkdir -p {0}/x", "echo '{{' > {0}", "rm {0}; ln -s nowhere {0}"])
def test_who_removes_what_is_known_of_shared_files_plants_no_hook(shop: Workshop, put: str) -> None:
    state = shop.project.state
    remove = "; ".join(put.format(path) for path in (state.shared, state.shared_lock, state.agent("agent-1").refs))
    shop.work("one", f"{remove}; {CONTAMINANTS['planted hook']}; git branch theirs")
    assert not (shop.root / ".git" / "hooks" / "pre-commit").exists()
    assert "refs/heads/theirs" not in refs(shop)
    assert shop.work("two", "echo two > two.txt").kind == "landing"
    shop.work("three", "git branch others")
    assert "refs/heads/others" not in refs(shop)


@pytest.mark.parametrize("name", [b"caf\xe9", "line\u2028separator".encode(), "space\u3000".encode()])
def test_names_that_other_programs_could_not_write_down_are_in_nobodys_way(shop: Workshop, name: bytes) -> None:
    def branches() -> str:
        return attempt_git(shop.root, "for-each-ref", "refs/heads/[!p]*").stdout

    mine = f"mine-{os.fsdecode(name)}"
    git(shop.root, "branch", mine)
    write(shop.root, {f".git/hooks/{mine}": "called by a hook\n"})
    before = branches()
    octal = "".join(f"\\{byte:03o}" for byte in name)
    shop.work("one", f"git branch \"$(printf 'theirs-{octal}')\"; echo one > one.txt")
    assert branches() == before
    assert len([why for why in happened(shop, "set-aside") if "a program made refs/heads/theirs-" in why]) == 1
    assert happened(shop, "unguarded") == []
    assert shop.work("two", "echo two > two.txt").commit


def test_files_that_a_program_had_git_ignore_are_committed_nevertheless(shop: Workshop) -> None:
    record = shop.work("one", f"echo '*' >> {ROOT}/.git/info/exclude; echo work > work.txt")
    assert git(shop.root, "show", f"{record.commit}:work.txt") == "work"


def test_a_planted_hook_is_a_call_for_a_person_until_it_was_seen(shop: Workshop) -> None:
    def calls() -> list[Attention]:
        return [call for call in current_snapshot(shop.project).attention if "pre-commit appeared" in call.why]

    shop.work("one", CONTAMINANTS["planted hook"])
    (call,) = calls()
    assert call.next is not None
    note = Path(call.next.removeprefix("cat ").strip("'"))
    assert "rm -r" in note.read_text()
    note.unlink()
    assert calls() == []


def test_what_a_killed_worker_left_is_settled_by_who_starts_the_next_run(shop: Workshop) -> None:
    repository = Repository.open(shop.root)
    before = refs(shop)
    shop.add(
        "one",
        f"{CONTAMINANTS['planted hook']}; {CONTAMINANTS['stash']}; git tag theirs; touch {shop.root}/there; sleep 99",
    )
    worker = shop.start()
    eventually((shop.root / "there").exists)
    worker.kill()
    worker.communicate()
    eventually(lambda: len(shop.mark.living()) == 0)
    assert refs(shop) != before
    open_run(shop.project.state, repository, {"agent-1"}, ())
    assert refs(shop) == before
    assert not (shop.root / ".git/hooks/pre-commit").exists()
    kept = git(shop.root, "for-each-ref", "--format=%(refname)", "refs/parallel-loop/salvage/one").split()
    assert kept == [f"refs/parallel-loop/salvage/one/1-shared/{name}" for name in ("stash", "tags/theirs")]
    assert git(shop.root, "config", "extensions.preciousObjects") == "1"
    close_run(shop.project.state, repository)
    assert attempt_git(shop.root, "config", "extensions.preciousObjects").returncode == 1


def test_what_a_person_changes_between_two_runs_is_theirs(shop: Workshop) -> None:
    repository = Repository.open(shop.root)
    open_run(shop.project.state, repository, (), ())
    shop.work("one", "echo one > one")
    close_run(shop.project.state, repository)
    hook = shop.root / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    git(shop.root, "config", "core.pager", "less -R")
    open_run(shop.project.state, repository, {"agent-1"}, ())
    shop.work("two", "echo two > two")
    assert hook.exists()
    assert git(shop.root, "config", "core.pager") == "less -R"
    assert happened(shop, "security", "shared-changed", "set-aside", "unguarded") == []


def test_what_a_person_changed_long_after_a_crash_is_theirs(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository.open(shop.root)
    open_run(shop.project.state, repository, (), ())
    shop.work("one", "echo one > one")  # and then everything is killed
    monkeypatch.setattr(guard, "_SLACK_SECONDS", -100.0)
    hook = shop.root / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    open_run(shop.project.state, repository, {"agent-1"}, ())
    assert hook.exists()


def test_what_git_writes_down_of_a_program_does_not_grow_for_ever(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MOST_BYTES", 2000)
    git(shop.root, "tag", "v0")
    shop.work("one", "git tag -d v0; for i in 1 2 3 4 5 6 7 8; do git status; sleep 0.3; done; echo one > one")
    trace = shop.project.state.agent("agent-1").git_trace
    assert trace.stat().st_size == 0
    assert git(shop.root, "tag") == "v0"
    forget_trace(trace.with_name("none"))


def test_trouble_with_what_is_shared_costs_no_attempt(shop: Workshop) -> None:
    (shop.root / ".git/config.lock").touch()
    record = shop.work("one", f"printf '[core]\\n\\tpager = evil\\n' >> {ROOT}/.git/config; echo one > one")
    assert record.kind == "landing"
    assert "could not lock config file" in happened(shop, "unguarded")[0]
    (shop.root / ".git/config.lock").unlink()
    shop.work("two", "echo two > two")
    assert attempt_git(shop.root, "config", "core.pager").returncode == 1


def test_what_checks_do_on_the_merged_result_is_put_back_too(tmp_path: Path) -> None:
    check = "git tag checked; git config user.name Evil; git branch -f main HEAD"
    project = make_project(tmp_path / "repo", f"checks: ['{check}']\n")
    hand_over(project, "one", {"one": "1\n"})
    tip = git(project.root, "rev-parse", "main")
    git(project.root, "switch", "--quiet", "--detach")
    report = land(project)
    assert git(project.root, "tag") == ""
    assert git(project.root, "config", "user.name") == "Tess Ter"
    assert report.blocked is None
    assert git(project.root, "rev-parse", "main") == git(project.root, "rev-parse", "parallel-loop/landed") != tip
    kept = git(project.root, "for-each-ref", "--format=%(refname)", "refs/parallel-loop/salvage/landing").split()
    assert kept == [
        f"refs/parallel-loop/salvage/landing/one-1-shared/{name}" for name in ("heads/main", "tags/checked")
    ]
