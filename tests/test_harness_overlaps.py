"""Which patterns mean the same file, and which words of a prompt are paths."""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel_loop.harness.overlaps.globs import Paths, condensed, meet
from parallel_loop.harness.overlaps.named import Names, paths_of, words_like_paths
from parallel_loop.queue.records import Item
from parallel_loop.worktrees.git import Git
from support.repository import git, make_repository

STEPS = ("a", "b.", "/", "*", "?", "[ab]", "[!a]", "\\*", "**")
TEXTS = ["".join(text) for length in range(7) for text in itertools.product("ab*/.", repeat=length)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("src/a.py", "src/a.py", True),
        ("src/a.py", "src/b.py", False),
        ("src/a.py", "src/a.pyc", False),
        ("src", "src/a.py", True),
        ("src/", "src/a.py", True),
        ("./src/", "/src/a.py", True),
        ("src", "srcs/a.py", False),
        ("src/deep", "src/deep/er/a.py", True),
        ("", "anything", True),
        (".", "anything", True),
        ("*", "anything/at/all", True),
        ("*.py", "src/deep/a.py", True),
        ("*.py", "src/deep/a.md", False),
        ("*.py", "src", True),  # a folder may hold one
        ("src/*.py", "src/*.md", False),
        ("src/*.py", "docs/*.py", False),
        ("src/*.py", "src/deep", True),
        ("src/**", "src/deep/a.py", True),
        ("src/**/a.py", "src/deep/er/a.py", True),
        ("**/test_*.py", "tests/test_a.py", True),
        ("**/test_*.py", "tests/conftest.py", False),
        ("*_test.go", "pkg/*.go", True),
        ("a*b", "*c", False),
        ("a*b", "ac*", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "[c-e]x", True),
        ("[a-b]x", "[c-e]x", False),
        ("[!a]x", "ax", False),
        ("[^a]x", "bx", True),
        ("[[:alpha:]]x", "bx", True),
        ("[]x", "[]x", True),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("docs/é.md", "docs/[é-ë].md", True),
        ("a b/c\nd", "a b", True),
        ("x" * 1999 + "*", "x" * 999 + "/y.z", False),
        ("x" * 1999 + "*", "x" * 1000 + "z.z", True),  # of what is that long the beginning is compared
        ("x" * 2000, "x" * 2000 + "/y", True),
        ("*" * 300 + "a", "b", True),
        ("*" * 300 + "a", "b.c", False),
        ("*.d", "conf.d/a.b", False),
        ("conf.d", "conf.d/a", True),
        ("*.conf", "conf.d/", True),
        ("app/[[]id]/page.tsx", "app/\\[id]/page.tsx", True),
        ("app/*/page.tsx", "app/\\[id]/page.tsx", True),
        ("app/[id]/page.tsx", "app/\\[id]/page.tsx", False),
        ("\\[id]/", "\\[id]/page.tsx", True),
    ],
)
def test_what_patterns_mean_the_same_file(one: str, other: str, expected: bool) -> None:
    assert meet(one, other) == meet(other, one) == expected
    assert Paths([one]).meets(Paths([other])) == Paths(["z.z/z.z", other]).meets(Paths([one])) == expected


PATTERNS = st.lists(st.sampled_from(STEPS), max_size=3).map("".join)


@given(PATTERNS, PATTERNS)
@settings(max_examples=300, deadline=None)
def test_patterns_meet_exactly_when_some_path_is_meant_by_both(one: str, other: str) -> None:
    wild = [bool(re.search(r"[*?\[]", pattern)) for pattern in (one, other)]
    first = re.compile(translated(one, is_wild=wild[0], meets_wild=wild[1]), re.DOTALL)
    second = re.compile(translated(other, is_wild=wild[1], meets_wild=wild[0]), re.DOTALL)
    assert meet(one, other) == any(first.fullmatch(text) and second.fullmatch(text) for text in TEXTS)


def translated(pattern: str, *, is_wild: bool, meets_wild: bool) -> str:
    """The same by way of `re`."""
    bare = pattern.strip("/")
    if bare in {"", "."}:
        return ".*"
    parts = {"*": ".*", "?": ".", "[ab]": "[ab]", "[!a]": "[^a]", "\\*": "\\*"}
    steps = re.findall(r"\[!?\w+\]|\\\*|.", bare, re.DOTALL)
    is_file = not pattern.endswith("/") and (is_wild or (meets_wild and "." in bare.rpartition("/")[2][1:]))
    return "".join(parts.get(step, re.escape(step)) for step in steps) + ("" if is_file else "(?:/.*)?")


@given(st.lists(PATTERNS, max_size=4), st.lists(PATTERNS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_lists_meet_when_one_of_each_does(ones: list[str], others: list[str]) -> None:
    expected = any(meet(one, other) for one in ones for other in others)
    assert Paths(ones).meets(Paths(others)) == Paths(others).meets(Paths(ones)) == expected


def test_a_pattern_means_what_it_means_to_git(tmp_path: Path) -> None:
    files = ["a.py", "src/a.py", "src/deep/b.py", "src/deep/b.md", "docs/x.md", "docs/[x].md", "srcs/a.py"]
    root = make_repository(tmp_path / "r", dict.fromkeys(files, "x"))
    for pattern in (
        "src",
        "src/",
        "*.py",
        "src/*.py",
        "src/**",
        "**/b.*",
        "s?c*/a.py",
        "[ds]*/*.md",
        "docs/\\[x\\].md",
    ):
        listed = set(git(root, "ls-files", "-z", "--", pattern).split("\0")) - {""}
        assert {name for name in files if meet(pattern, name.replace("[", "\\["))} == listed, pattern


def test_a_hundred_paths_of_forty_branches_are_compared_in_no_time() -> None:
    branches = [Paths(f"src/part{branch}/file{number}.py" for number in range(100)) for branch in range(40)]
    start = time.process_time()
    assert not any(one.meets(other) for one, other in itertools.combinations(branches, 2))
    assert not any(branch.meets(Paths(["docs/*.md", "src/part77/*"])) for branch in branches)
    assert time.process_time() - start < 1.0  # 0.02 s here


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)), st.integers(1, 5))
def test_what_is_condensed_is_short_and_covers_all(paths: list[str], most: int) -> None:
    short = condensed(paths, most)
    assert len(short) <= most
    assert all(any(one in {"", path} or path.startswith(one) for one in short) for path in paths)
    assert len(set(paths)) > most or set(short) == set(paths)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Make the queue faster.", []),
        ("Make `queue` faster.", ["queue"]),
        ("Change queue/ready.py, and docs/.", ["queue/ready.py", "docs"]),
        ("See README.md. Then stop", ["README.md"]),
        ("In src/a.py:12: a bug", ["src/a.py"]),
        ("tests/test_a.py::test_b[c] fails", ["tests/test_a.py"]),
        ('"src/a.py" and (src/b.py) and **src/c.py**', ["src/a.py", "src/b.py", "src/c.py"]),
        ("https://example.org/src/a.py", []),
        ("./src/a.py is src/a.py", ["src/a.py"]),
        (".gitignore", [".gitignore"]),
        ("`Makefile` or Makefile", ["Makefile"]),
        ("and so on / or else", []),
        ("", []),
    ],
)
def test_words_of_a_prompt_that_may_be_paths(prompt: str, expected: list[str]) -> None:
    assert words_like_paths(prompt) == expected


def item(prompt: str, *paths: str) -> Item:
    return Item(id="i", title="i", added_at="", prompt=prompt, paths=paths)


def test_a_prompt_names_what_is_tracked_whole_and_in_the_same_case(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r", {"src/a.py": "", "Makefile": "", "docs/a b.md": "", "run": ""})
    (root / "untracked.py").write_text("")
    names = Names(Git(root), "HEAD")
    prompt = "Read src/a.py, SRC/a.py, rc/a.py, src/a.p, untracked.py, `src`, run, `run`, Makefile and and/or."
    assert paths_of(item(prompt), names) == ("src/a.py", "src", "run")
    assert paths_of(item(prompt, "docs/*"), names) == ("docs/*",)
    assert paths_of(item(" ".join(f"src/a.py src/ run./{n}" for n in range(99))), names) == ("src/a.py", "src")


def test_a_prompt_without_anything_like_a_path_asks_no_git(tmp_path: Path) -> None:
    names = Names(Git(tmp_path / "nowhere"), "HEAD")
    assert paths_of(item("Make it better, and faster."), names) == ()
    assert names._trusted_until == 0.0
    assert paths_of(item("Make a.py better."), names) == ()  # git fails: nothing is known


def test_names_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_repository(tmp_path / "r", {"a.py": ""})
    names = Names(Git(root), "HEAD")
    assert "a.py" in names
    monkeypatch.setattr(subprocess, "Popen", None)
    assert "b.py" not in names
