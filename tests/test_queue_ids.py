from __future__ import annotations

import pytest

from parallel_loop.queue.ids import MAX_ID_LENGTH, InvalidId, check_id, is_id, slug
from parallel_loop.queue.layout import parse_name
from support.repository import attempt_git, make_empty_repository

GOOD = ["a", "7", "fix-login", "A.b_c-1", "x" * MAX_ID_LENGTH, "a.json", "a.1", "item.2.json", "lock"]
BAD = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc/passwd",
    "-rf",
    "--",
    ".hidden",
    "_x",
    "a b",
    "a\n",
    "a\0b",
    "a..b",
    "a.",
    "x.lock",
    "x.LOCK",
    "a~b",
    "a:b",
    "a\\b",
    "@",
    "*",
    "é",
    "🙂",
    "x" * (MAX_ID_LENGTH + 1),
    "x" * 300,
    "\udc80",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_usable_id_is_accepted_as_it_is(text: str) -> None:
    assert check_id(text) == text
    assert is_id(text)
    assert parse_name(f"{text}.json") == (text, None)
    assert parse_name(f"{text}.12") == (text, 12)


@pytest.mark.parametrize("text", BAD)
def test_a_hostile_id_is_refused_with_a_message_of_one_printable_line(text: str) -> None:
    with pytest.raises(InvalidId) as refusal:
        check_id(text)
    message = str(refusal.value)
    assert message.isprintable()
    assert len(message) < 250
    assert not is_id(text)


def test_git_accepts_every_good_id_in_a_branch_name(tmp_path) -> None:
    repository = make_empty_repository(tmp_path / "repository")
    for text in GOOD:
        assert attempt_git(repository, "check-ref-format", f"refs/heads/parallel-loop/item/{text}/1").returncode == 0


@pytest.mark.parametrize(
    "name", ["README", "a.0", "a.01", "a.x", ".json", ".1", "a.", "a.-1", "a.\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_a_name_that_is_none_of_ours_is_not_taken_for_a_record(name: str) -> None:
    assert parse_name(name) is None


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Fix the login", "fix-the-login"),
        ("  Ünïcode,  déjà vu! ", "unicode-deja-vu"),
        ("", "item"),
        ("🙂", "item"),
        ("x" * 300, "x" * 40),
        ("../../etc/passwd", "etc-passwd"),
        ("word " * 100, "word-word-word-word-word-word-word-word"),
    ],
)
def test_a_title_becomes_a_usable_id(title: str, expected: str) -> None:
    assert slug(title) == expected
    assert check_id(slug(title)) == expected
