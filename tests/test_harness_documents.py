from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from parallel_loop.coordinator.commands.entries import Entry, read_items
from parallel_loop.harness.configuration.documents import DocumentError, decode, read_document, read_with_lines

T = TypeVar("T")
BILLION_LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
TAG_PROBLEM = "f.yaml:1: uses a tag (`!…`); tags are not supported, put the value in quotes if it is text"
TRUNCATED = "Input data was truncated"
TOO_LARGE = "is too large; put it in quotes if it is text"
SMALLER = "a YAML document here must be smaller"
YAMLISH = st.lists(
    st.sampled_from(
        [*"abc01:-?[]{},&*!|>'\"%@`#\\~=<>. \t\n", "\n  ", ": ", "- ", "<<", "---\n", "1e999", "\\x00", "é", "\x85"]
    ),
    max_size=40,
).map("".join)


@pytest.fixture(params=["C", "Python"])
def each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader")


def problem_of(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        read_document(text, "f.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def attempt(read: Callable[[str, str], T], text: str) -> tuple[T | None, str]:
    """Return what was read and the problem told; any other error fails the test."""
    try:
        return read(text, "f.yaml"), ""
    except DocumentError as error:
        return None, str(error)


@pytest.mark.usefixtures("each_parser")
def test_only_what_json_can_say_is_more_than_text() -> None:
    text = """
date: 2024-01-31
time: 12:30:00
base: [0o17, 0x1f, 0123, 1_000, +1, .5, .inf, .nan]
words: [yes, No, on, OFF, y, "true", 'null', '1']
plain: [true, False, null, ~, , 1, -2.5, 1e3]
block: |
  two
  lines
empty:
"""
    assert read_document(text.replace("~, ,", "~,"), "f.yaml") == {
        "date": "2024-01-31",
        "time": "12:30:00",
        "base": ["0o17", "0x1f", "0123", "1_000", "+1", ".5", ".inf", ".nan"],
        "words": ["yes", "No", "on", "OFF", "y", "true", "null", "1"],
        "plain": [True, False, None, None, 1, -2.5, 1000.0],
        "block": "two\nlines\n",
        "empty": None,
    }


@pytest.mark.usefixtures("each_parser")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: the key 'a' is there twice in one mapping; remove one of them"),
        ("x:\n  {p: 1, 'p': 2}", "f.yaml:2: the key 'p' is there twice in one mapping; remove one of them"),
        (BILLION_LAUGHS, "f.yaml:1: uses the anchor `&a`; anchors are not supported, remove it"),
        ("&a [*a]", "f.yaml:1: uses the anchor `&a`; anchors are not supported, remove it"),
        ("b: *a", "f.yaml:1: uses the alias `*a`; aliases are not supported, write the value out"),
        ("x: 1\n<<: {a: 1}", "f.yaml:2: uses the merge key `<<`; merging is not supported, write the keys out"),
        ("a: !!python/object/apply:os.system [id]", TAG_PROBLEM),
        ("a: !!str 1", TAG_PROBLEM),
        ("1: a", "f.yaml:1: the key `1` is not text; put it in quotes"),
        ("a:\n  true: a", "f.yaml:2: the key `true` is not text; put it in quotes"),
        ("? [a, b]\n: c", "f.yaml:1: uses a list or mapping as a key; a key must be text"),
        ("a: 1\n---\nb: 2", "f.yaml:2: begins a second document; keep one and remove the line `---` before the other"),
        ("a: 1e999", f"f.yaml:1: the number '1e999' {TOO_LARGE}"),
        ("a: 1234567890123456789", f"f.yaml:1: the number '1234567890123456789' {TOO_LARGE}"),
        ("a: 1\nb: x\x00y", "f.yaml:2: holds the unprintable character U+0000; remove it"),
        ("a: 'x\u2028y'", "f.yaml:1: holds the unprintable character U+2028; remove it"),
        ("a: \x1b[31m", "f.yaml:1: holds the unprintable character U+001B; remove it"),
        ("a: \ud800", "f.yaml:1: holds the unprintable character U+D800; remove it"),
        ('a: "x\\0y"', "f.yaml:1: holds the unprintable character U+0000; remove it"),
        pytest.param("[" * 10_000, "f.yaml:1: nested more than 50 deep; write it flatter", id="10,000 lists"),
        ("- " * 60 + "x", "f.yaml:1: nested more than 50 deep; write it flatter"),
        pytest.param("#" * 1_000_001, f"f.yaml: larger than 1,000,000 bytes; {SMALLER}", id="too many characters"),
        pytest.param("é" * 500_001, f"f.yaml: larger than 1,000,000 bytes; {SMALLER}", id="too many bytes"),
    ],
)  # fmt: skip
def test_what_could_surprise_is_refused_with_its_line(text: str, problem: str) -> None:
    assert problem_of(text) == problem


@pytest.mark.usefixtures("each_parser")
@pytest.mark.parametrize("text", ["a: 1\n b: 2", "a: [1,\n 2", "a: 'x\n", "a:\n\tb: 1", "c: 1\na: b: c", "d: 1\nx: @y"])
def test_broken_yaml_is_told_with_a_line_that_is_near(text: str) -> None:
    problem = problem_of(text)
    assert problem.startswith(("f.yaml:2: not valid YAML: ", "f.yaml:1: not valid YAML: "))
    assert problem.endswith("; look at the indentation, colons and quotes there")


@pytest.mark.usefixtures("each_parser")
def test_an_escape_beyond_unicode_is_broken_yaml() -> None:
    assert "not valid YAML" in problem_of('a: "\\U99999999"')


def test_an_endless_name_does_not_make_an_endless_message() -> None:
    assert len(problem_of(f"&{'a' * 900_000} x")) < 1100


def test_every_value_has_its_line() -> None:
    document = read_with_lines("a:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\n", "f.yaml")
    assert document.lines == {
        ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4, ("a", "b", 1, "d"): 5,
    }  # fmt: skip
    assert document.line(("a", "b", 1, "missing", 3)) == 4
    assert document.line(("missing",)) is None


def test_bytes_that_are_not_utf_8_are_told_with_their_line() -> None:
    assert decode("\ufeffé: 1".encode(), "f") == "é: 1"
    for data, message in (
        (b"a: 1\nb: \xff", "f:2: not UTF-8 text (byte 0xff)"),
        ("a".encode("utf-16"), "f:1: not UTF-8 text (byte 0xff)"),
    ):
        with pytest.raises(DocumentError) as caught:
            decode(data, "f")
        assert str(caught.value) == f"{message}; save the file as UTF-8"


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DocumentError("f\n.yaml", 3, "is wrong")))
    assert str(error) == "f\\n.yaml:3: is wrong"


@pytest.mark.usefixtures("each_parser")
@given(YAMLISH | st.text())
def test_any_text_gives_plain_values_or_a_document_error(text: str) -> None:
    value, problem = attempt(read_document, text)
    assert problem.isprintable()
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@given(JSON_VALUES)
def test_what_json_writes_is_read_as_what_it_was(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    read, problem = attempt(read_document, text)
    assert read == value or "unprintable character" in problem


@pytest.mark.parametrize(
    "text",
    [
        '[{"prompt": "a"},\n {"prompt": "b"}]',
        '\ufeff\n{"prompt": "a"}\r\n\n{"prompt": "b"}\n',
        "- prompt: a\n- prompt: b\n",
        "# two\n[{prompt: a}, {prompt: b}]",
        "[{prompt: a}, {prompt: b}]",
        "---\n-\n  prompt: a\n-   {'prompt': b}",
    ],
)
def test_the_three_ways_to_write_entries_are_told_apart_by_content(text: str) -> None:
    assert [entry.fields for entry in read_items(text, "f")] == [{"prompt": "a"}, {"prompt": "b"}]


def test_each_entry_knows_its_place() -> None:
    assert read_items('{"a": 1}\n\n{"b": "\u2028"}', "f") == [
        Entry("line 1", {"a": 1}),
        Entry("line 3", {"b": "\u2028"}),
    ]
    assert [entry.where for entry in read_items("[\n{}, {}\n]", "f")] == ["entry 1", "entry 2"]
    assert [entry.where for entry in read_items("- a: 1\n  b: 2\n- a: 3\n", "f")] == ["line 1", "line 3"]


@pytest.mark.parametrize("text", ["", " \n", "[]", "# nothing yet\n", "null"])
def test_nothing_is_a_list_without_entries(text: str) -> None:
    assert read_items(text, "f") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[{"a": 1}, 5]', "f: entry 2 must be a mapping such as {prompt: Fix the login}, not 5"),
        ('{"a": 1}\n["b"]', "f:2: must be a mapping such as {prompt: Fix the login}, not a list"),
        ("- prompt: a\n- just text", "f:2: must be a mapping such as {prompt: Fix the login}, not 'just text'"),
        ("prompt: a", "f: must be a list of entries, not a mapping; begin each entry with `- `"),
        ("Fix the login", "f: must be a list of entries, not 'Fix the login'; begin each entry with `- `"),
        ('{\n  "prompt": "a"\n}', "f: must be a list of entries, not one mapping; put it between `[` and `]`"),
        ('{"a": 1}\n{"b"', f"f:2: not a JSON object on one line: {TRUNCATED}; write one object on each line"),
        ('[{"a": 1},\n{"a" 2}]', "f:2: not valid JSON: JSON is malformed: expected ':' (byte 16); correct it there"),
        ('[{"a": 1}', f"f:1: not valid JSON: {TRUNCATED}; correct it there"),
        ('[{"a": 1},\n{"b": 2\n\n', f"f:2: not valid JSON: {TRUNCATED}; correct it there"),
        ('[{"a": "\ud800"}]', "f: not valid JSON: half of a surrogate pair; correct it there"),
        pytest.param("[" * 100_000, "f: not valid JSON: nested too deeply; correct it there", id="100,000 lists"),
        ("- a: &x 1", "f:1: uses the anchor `&x`; anchors are not supported, remove it"),
        pytest.param("-" + " " * 10_000_000, f"f: larger than 10,000,000 bytes; {SMALLER}", id="too large"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_mappings_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_items(text, "f")
    assert str(caught.value) == problem


@given(YAMLISH | st.text() | st.text(alphabet='[]{}":,a1 \n\\u'))
def test_any_text_gives_entries_or_a_document_error(text: str) -> None:
    entries, problem = attempt(read_items, text)
    assert problem.isprintable()
    assert all(isinstance(entry.fields, dict) and entry.where for entry in entries or ())


def test_a_long_list_is_not_read_as_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "parse", None)
    entries = [{"prompt": f"item {number}", "after": []} for number in range(20_000)]
    for text in (json.dumps(entries), "\n".join(map(json.dumps, entries))):
        assert [entry.fields for entry in read_items(text, "f")] == entries
