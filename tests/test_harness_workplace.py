"""Where a program works: what was set up there, and what its environment, its prompt and its ports are."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from parallel_loop.harness.workplace import port_base
from support.attempts import BRANCH, COMMIT, assert_landing
from support.harness import Workshop, make_workshop
from support.repository import git

pytestmark = pytest.mark.usefixtures("alone")


def test_a_worktree_is_set_up_before_the_program_and_that_is_not_committed(tmp_path: Path) -> None:
    config = "setup: {copy: [.env], link: [modules, none], run: ['cp .env copied', 'test -e modules/m']}\n"
    shop = make_workshop(tmp_path / "repo", config, {".gitignore": "copied\n"})
    (shop.root / ".env").write_text("SECRET=1\n")
    (shop.root / "modules").mkdir()
    (shop.root / "modules/m").write_text("m")
    record = shop.work("one", "test -e copied && test -L modules && cat .env > a")
    assert_landing(shop, record, ".gitignore", "a")
    events = shop.project.state.events.read_text()
    assert '"setup-missing"' in events
    assert '"names":"none"' in events


def test_caches_survive_from_item_to_item_and_are_no_work(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "setup: {keep: [cache]}\n")
    shop.work("one", "mkdir cache; echo old > cache/x; echo one > one; echo junk > junk.o")
    record = shop.work("two", "cat cache/x > two; test ! -e junk.o")
    names = git(shop.root, "ls-tree", "-r", "--name-only", record.commit or "").split()
    assert names == ["README.md", "parallel-loop.yaml", "two"]
    assert git(shop.root, "show", f"{record.commit}:two") == "old"
    assert "parallel-loop/salvage" not in git(shop.root, "for-each-ref")


def test_a_set_up_that_fails_says_which_command_and_how(tmp_path: Path) -> None:
    shop = make_workshop(
        tmp_path / "repo", "setup: {run: ['true', 'echo no network >&2; exit 9', 'touch not-reached']}\n"
    )
    record = shop.work("one", "touch not-reached-either")
    assert (record.kind, record.outcome) == ("released", "error")
    assert record.why == "the command `echo no network >&2; exit 9` of `setup: run:` ended with exit code 9"
    assert record.text == "no network"
    assert record.branch is None


def test_the_environment_is_as_documented(tmp_path: Path) -> None:
    hostile = {
        "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere", "GIT_WORK_TREE": "/", "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.bare", "GIT_CONFIG_VALUE_0": "true", "PARALLEL_LOOP_ITEM": "another",
    }  # fmt: skip
    shop = make_workshop(tmp_path / "repo", "roles: {builder: {wip: 1}}\n", environ=hostile)
    shop.work("one", "env -0 > env; pwd > pwd; git rev-parse HEAD", role="builder", prompt="the prompt")
    raw = git(shop.root, "show", f"{BRANCH}:env").split("\0")
    env = dict(line.partition("=")[::2] for line in raw if line)
    place = shop.project.worktrees / "agent-1"
    prompt = shop.project.state.agent("agent-1").prompt_file("one", 1)
    outbox = shop.project.state.agent("agent-1").outbox
    assert {name: value for name, value in env.items() if name.startswith("PARALLEL_LOOP_")} == {
        "PARALLEL_LOOP_STATE": str(shop.project.state.root),
        "PARALLEL_LOOP_ITEM": "one",
        "PARALLEL_LOOP_ATTEMPT": "1",
        "PARALLEL_LOOP_AGENT": "agent-1",
        "PARALLEL_LOOP_ROLE": "builder",
        "PARALLEL_LOOP_WORKTREE": str(place),
        "PARALLEL_LOOP_BRANCH": BRANCH,
        "PARALLEL_LOOP_PROMPT_FILE": str(prompt),
        "PARALLEL_LOOP_PORT_BASE": env["PARALLEL_LOOP_PORT_BASE"],
        "PARALLEL_LOOP_ASK_FILE": str(outbox / f"{prompt.stem}.ask"),
        "PARALLEL_LOOP_WAIT_FILE": str(outbox / f"{prompt.stem}.wait"),
    }
    assert not {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"} & env.keys()
    assert "core.bare" not in env.values()
    assert git(shop.root, "show", f"{BRANCH}:pwd") == str(place)
    assert prompt.read_text() == "the prompt"


def test_ports_of_the_agents_of_one_repository_are_apart_and_below_those_of_outgoing_connections() -> None:
    for state in (b"/home/a/project/.parallel-loop", b"/home/b/project/.parallel-loop", b""):
        bases = [port_base(state, number) for number in range(65)]
        assert all(later - base == 10 for base, later in itertools.pairwise(bases))
        assert 20_000 <= bases[0] <= bases[-1] <= 32_758


def test_ports_of_two_repositories_are_rarely_the_same() -> None:
    used = [{port_base(f"/home/me/{name}".encode(), agent) for agent in (1, 2, 3)} for name in range(200)]
    pairs = list(itertools.combinations(used, 2))
    assert sum(bool(one & other) for one, other in pairs) < len(pairs) / 100


@pytest.mark.parametrize("way", ["stdin", "argv", "file"])
def test_the_prompt_arrives_as_it_was_written(tmp_path: Path, way: str) -> None:
    argv = {
        "stdin": "[/bin/sh, -c, 'cat > got']",
        "argv": """[/bin/sh, -c, 'printf %s "$1" > got', x, '{prompt}']""",
        "file": "[/bin/cp, '{prompt_file}', got]",
    }[way]
    shop = make_workshop(tmp_path / "repo", f"program: mine\nprograms: {{mine: {{argv: {argv}, prompt: {way}}}}}\n")
    prompt = "  Fix `it`; $(touch hacked) \"quoted\" 'ü' {item}\n\n%s\\n\n"
    assert_landing(shop, shop.work("one", prompt=prompt), "got")
    assert (shop.project.worktrees / "agent-1/got").read_text() == prompt


@pytest.mark.parametrize("way", ["stdin", "argv"])
def test_a_prompt_that_no_command_line_can_hold_says_what_to_do(tmp_path: Path, way: str) -> None:
    argv = {"stdin": "['/bin/sh', '-c', 'cat > got']", "argv": "[echo, '{prompt}']"}[way]
    shop = make_workshop(tmp_path / "repo", f"program: mine\nprograms: {{mine: {{argv: {argv}, prompt: {way}}}}}\n")
    for item_id, prompt, problem in (("one", "x" * 1_000_000, "too long"), ("two", "a\0b", "holds a NUL character")):
        record = shop.work(item_id, prompt=prompt, priority=9 - (item_id == "two"))
        if way == "stdin":
            assert record.kind == "landing"
            assert (shop.project.worktrees / "agent-1/got").read_text() == prompt
        else:
            assert record.outcome == "not-started"
            assert problem in (record.why or "")


@pytest.mark.parametrize("item_id", ["x" * 100, "1", "a.b_c-9", "HEAD", "worker", "con"])
def test_every_id_that_the_queue_takes_can_be_worked_on(shop: Workshop, item_id: str) -> None:
    assert_landing(shop, shop.work(item_id, "echo 1 > a"), "a", branch=f"parallel-loop/item/{item_id}/1")


def test_a_hostile_title_is_only_text(shop: Workshop) -> None:
    record = shop.work("one", "echo 1 > a", title="--amend -m 'x'; $(touch hacked) `id` ü \0")
    assert_landing(shop, record, "a")
    assert git(shop.root, "log", "-1", "--format=%s", BRANCH) == "--amend -m 'x'; $(touch hacked) `id` ü"


@pytest.mark.parametrize("name", ["with space", 'it\'s "quoted"', "line\nbreak", "größe-日本", "-dash", "$HOME;&"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    shop = make_workshop(tmp_path / name, "checks: ['test -e a']\nsetup: {copy: [.env]}\n")
    (shop.root / ".env").write_text("x")
    assert_landing(shop, shop.work("one", f"echo 1 > a; {COMMIT}; echo 2 > b"), "a", "b")
    assert shop.work("two", 'rm -rf "$PARALLEL_LOOP_WORKTREE"').outcome == "error"


def test_a_path_that_is_no_text_will_do(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / os.fsdecode(b"bytes-\xff\xfe"))
    assert_landing(shop, shop.work("one", "echo 1 > a"), "a")
