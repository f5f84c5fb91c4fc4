# ruff: noqa: E501 - a table of messages is read best with one case on a line
"""Bad input: a clear line, the right exit code, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_loop.queue.records import Entry
from parallel_loop.queue.store import Queue
from support.cli import CommandLine
from support.repository import git, make_empty_repository, make_repository

CONFIG = """
program: mine
programs:
  mine: {argv: [cat]}
  claude: {}
roles:
  builder: {wip: 2}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with an awkward path, a program and a role."""
    return make_repository(tmp_path / 'it\'s a "répo"\nwith $HOME', {"parallel-loop.yaml": CONFIG})


@pytest.fixture
def cli(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, root)


def queue_of(root: Path) -> Queue:
    return Queue(root / ".parallel-loop" / "queue")


def stored(root: Path, item_id: str) -> Entry:
    entry = queue_of(root).entry(item_id)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["add"], "the item has neither a prompt nor a command; give it one of them"),
        (["add", " \n"], "the prompt is empty; write something there or remove it"),
        (["add", "a\0b"], "the prompt holds a NUL at byte 1; remove it"),
        (["add", "ä\udcff"], "the prompt is not UTF-8 text at byte 2; convert it to UTF-8"),
        (["add", "x", "--prompt-file", "y"], "PROMPT and --prompt-file are both given; leave one of them out"),
        (["add", "--prompt-file", "nowhere"], "--prompt-file: nowhere cannot be read (No such file or directory); name a text file, or - to give it here"),
        (["add", "--prompt-file", "a\0b"], "--prompt-file: a\\x00b cannot be read (that is no path); name a text file, or - to give it here"),
        (["add", "x", "--command", "y", "--program", "mine"], "--program: a command is run by 'shell', not by 'mine'; leave it out"),
        (["add", "--command", "x" * 120_001], "--command: has 120,001 bytes, at most 120,000 are possible; write it into a script in the repository"),
        (["add", "x", "--title", "a\nb"], "--title: 'a\\nb' holds a line break or control character; write it on one line"),
        (["add", "x", "--title", "t" * 201], "--title: has 201 characters, at most 200 are possible; put the rest in the prompt"),
        (["add", "x", "--id", "../x"], "--id: the id '../x' is not usable: it must begin with a letter or digit and hold only letters, digits, '.', '_' and '-'"),
        (["add", "x", "--id", "-rf"], "--id: the id '-rf' is not usable: it must begin with a letter or digit and hold only letters, digits, '.', '_' and '-'"),
        (["add", "x", "--id", ""], "--id: an item's id is empty; use letters, digits, '.', '_' and '-', for example fix-login"),
        (["add", "x", "--id", "i" * 300], "--id: the id 'iiiiiiiiiiiiiiiiiiii…' has 300 characters; at most 100 are allowed"),
        (["add", "x", "--id", "🙂"], "--id: the id '🙂' is not usable: it must begin with a letter or digit and hold only letters, digits, '.', '_' and '-'"),
        (["add", "x", "--priority", "urgent"], "--priority: must be high, medium, low or 0 (most urgent) to 9, not 'urgent'"),
        (["add", "x", "--priority", "10"], "--priority: must be high, medium, low or 0 (most urgent) to 9, not '10'"),
        (["add", "x", "--timeout", "5 parsecs"], "--timeout: '5 parsecs' is not a duration; write for example 90s, 20m, 1h30m or 500ms"),
        (["add", "x", "--timeout", "0"], "--timeout: must be at least 1ms, not '0'"),
        (["add", "x", "--max-attempts", "0"], "--max-attempts: must be a whole number from 1 to 1000, not 0"),
        (["add", "x", "--after", "nobody"], "it waits for 'nobody', but there is no such item; add that one first"),
        (["add", "x", "--id", "me", "--after", "me"], "the items wait for each other in a circle: me -> me"),
        (["add", "x", "--role", "bilder"], "--role: unknown role 'bilder'; did you mean `builder`?"),
        (["add", "x", "--program", "mime"], "--program: unknown program 'mime'; did you mean `mine`?"),
        (["add", "x", "--program", "shell"], "parallel-loop.yaml: program: the program 'shell' runs commands, and this item has only a prompt; give --command, or name a program (--program, or `program:` in the configuration)"),
        (["add", "--promt", "x"], None),
        (["add", "x", "y"], "add: got unexpected extra argument (y); see `parallel-loop add --help`"),
        (["show", "../../etc/passwd"], None),
        (["cancel", "a/b"], None),
        (["logs", ".."], None),
        (["answer", "x"], None),
        (["scale", "0"], None),
        (["list", "--state", "lost"], None),
        (["add", "--command"], "add: option '--command' requires an argument; see `parallel-loop add --help`"),
        (["salvage", "prune", "--older-than"], "salvage prune: option '--older-than' requires an argument; see `parallel-loop salvage prune --help`"),
        (["--repo"], "option '--repo' requires an argument; see `parallel-loop --help`"),
        (["status", "--no-color"], "status: --no-color goes before the command: `parallel-loop --no-color status`; see `parallel-loop status --help`"),
        (["salvage", "show", "--repo", "x"], "salvage show: --repo goes before the command: `parallel-loop --repo DIR salvage show`; see `parallel-loop salvage show --help`"),
        (["--no-colour", "status"], None),
        (["statsu"], "there is no command 'statsu'; did you mean `status`?; see `parallel-loop --help`"),
        (["--repo", "nowhere", "list"], "--repo: nowhere is not a directory; name one in the repository"),
        (["--repo", "a\0b", "list"], "--repo: a\\x00b is not a directory; name one in the repository"),
        (["import", "nowhere"], "nowhere cannot be read (No such file or directory); name a file of items, or - to give them here"),
        (["import", "."], ". cannot be read (Is a directory); name a file of items, or - to give them here"),
        (["status", "--watch"], "--watch draws on a terminal; for a program, call `parallel-loop status --json` again and again"),
        (["ask", "why"], "only a program that works on an item can ask (PARALLEL_LOOP_ASK_FILE is not set); run it from there, or see what waits for you with `parallel-loop status`"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2_and_adds_nothing(
    root: Path, cli: CommandLine, argv: list[str], line: str | None
) -> None:
    answer = cli(*argv)

    assert answer.code == 2
    assert answer.out == ""
    assert line is None or answer.line == line
    assert answer.line
    assert not list((root / ".parallel-loop").glob("queue/items/*/*"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n", "items: must be a list of entries, not a mapping; begin each entry with `- `"),
        ("- prompt: x\n  promt: y\n", "items: line 1: promt: unknown key; did you mean `prompt`? (nothing was added)"),
        ('{"prompt": "x"}\n{"prompt": ""}\n', "items: line 2: prompt: is empty; write something there or remove it (nothing was added)"),
        ('[{"prompt": "x"}, {"title": "y"}]', "items: entry 2: has neither a prompt nor a command; give it one of them (nothing was added)"),
        ('[{"prompt": "x\\u0000"}]', "items: entry 1: prompt: holds a NUL at byte 1; remove it (nothing was added)"),
        ("- {prompt: x, priority: 11}", "items: line 1: priority: must be high, medium, low or 0 (most urgent) to 9, not 11 (nothing was added)"),
        ("- {prompt: x, id: 7}", "items: line 1: id: must be text, not 7; put it in quotes if it is text (nothing was added)"),
        ("- {prompt: x, after: y}", "items: line 1: after: must be a list such as [fix-login], not 'y' (nothing was added)"),
        ("- {prompt: x, paths: y}", "items: line 1: paths: must be a list such as [src/login.py], not 'y' (nothing was added)"),
        ("- {prompt: x, program: mime}", "items: line 1: program: unknown program 'mime'; did you mean `mine`? (nothing was added)"),
        ("- {prompt: x, role: tester}", "items: line 1: role: unknown role 'tester'; known here: builder (nothing was added)"),
        ("- {prompt: x, id: a, after: [b]}\n- {prompt: x, id: b, after: [a]}", "items: line 1: the items wait for each other in a circle: a -> b -> a (nothing was added)"),
        ("- {prompt: x, id: a}\n- {prompt: y, id: a}", "items: line 2: there is already an item 'a' earlier in this list; give another id (nothing was added)"),
        ("- &a [*a, *a]", "items:1: uses the anchor `&a`; anchors are not supported, remove it"),
        ("- {prompt: x\n", None),
    ],
)  # fmt: skip
def test_one_bad_entry_of_an_import_is_named_with_its_place_and_none_is_added(
    root: Path, cli: CommandLine, text: str, line: str | None
) -> None:
    (root / "items").write_text(text)

    answer = cli("import", "items")

    assert answer.code == 2
    assert answer.out == ""
    assert line is None or answer.line == line
    assert not list((root / ".parallel-loop").glob("queue/items/*/*"))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ("- agents\n", "parallel-loop.yaml: the document must be a mapping of keys to values, not a list"),
        ("agnets: 3\n", "parallel-loop.yaml:1: agnets: unknown key; did you mean `agents`?"),
        ("a: &a [*a]\n", "parallel-loop.yaml:1: uses the anchor `&a`; anchors are not supported, remove it"),
    ],
)
@pytest.mark.parametrize("command", [["add", "x"], ["status"], ["list"], ["init"], ["run"]])
def test_an_invalid_configuration_stops_every_command_before_it_does_anything(
    root: Path, cli: CommandLine, config: str, line: str, command: list[str]
) -> None:
    (root / "parallel-loop.yaml").write_text(config)

    answer = cli(*command)

    assert (answer.code, answer.line) == (2, line)
    assert not (root / ".parallel-loop").exists()


@pytest.mark.parametrize(
    "command", [["init"], ["add", "--command", "true"], ["run", "--drain"], ["status", "--json"], ["list"]]
)
def test_outside_a_repository_every_command_says_so(tmp_path: Path, cli: CommandLine, command: list[str]) -> None:
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()

    answer = cli("--repo", str(nowhere), *command)

    assert answer.code == 4
    assert f"{nowhere} is not in a git repository" in answer.line
    assert list(nowhere.iterdir()) == []


def test_a_bare_repository_and_one_without_a_commit_are_told_apart(tmp_path: Path, cli: CommandLine) -> None:
    bare, empty = tmp_path / "bare", make_empty_repository(tmp_path / "empty")
    git(tmp_path, "init", "--quiet", "--bare", str(bare))

    refused = cli("--repo", str(bare), "init")
    assert (refused.code, "is bare" in refused.line) == (4, True)
    refused = cli("--repo", str(empty), "init")
    assert (refused.code, "has no commit yet" in refused.line) == (4, True)
    assert not (empty / "parallel-loop.yaml").exists()


def test_a_detached_head_is_no_target(root: Path, cli: CommandLine) -> None:
    git(root, "switch", "--quiet", "--detach")

    answer = cli("init")

    assert answer.code == 2
    assert "HEAD is detached" in answer.line


def test_a_duplicate_id_is_refused_and_the_first_item_stays(root: Path, cli: CommandLine) -> None:
    assert cli("add", "first", "--id", "a").out == "a\n"

    answer = cli("add", "second", "--id", "a")

    assert (answer.code, answer.line) == (2, "there is already an item 'a' in the queue; give another id")
    assert stored(root, "a").item.prompt == "first"


def test_a_prompt_of_a_megabyte_is_kept_whole_and_one_above_the_limit_is_refused(root: Path, cli: CommandLine) -> None:
    long, endless = root / "long", root / "endless"
    long.write_text("word\n" * 200_000)
    endless.write_bytes(b"x" * 8_000_001)

    assert cli("add", "--prompt-file", "long").out == "word\n"
    assert stored(root, "word").item.prompt == long.read_text()
    refused = cli("add", "--prompt-file", "endless")
    assert (refused.code, "is larger than 8,000,000 bytes" in refused.line) == (2, True)


def test_what_is_given_to_add_is_what_is_stored(root: Path, cli: CommandLine) -> None:
    cli("add", "x", "--id", "first")
    options = ["--id", "a", "--priority", "high", "--after", "first", "--after", "first", "--role", "builder"]
    options += ["--paths", "src/*", "--paths", "*.md", "--timeout", "1h30m", "--max-attempts", "2", "--program", "mine"]

    answer = cli("add", "\n  Fix the\tlogin \x1b[31m" + "very " * 20, *options, "--json")

    item = stored(root, "a").item
    assert (item.priority, item.after, item.role, item.program) == (1, ("first",), "builder", "mine")
    assert (item.paths, item.timeout_seconds, item.max_attempts) == (("src/*", "*.md"), 5400.0, 2)
    assert item.title.startswith("Fix the login [31mvery very")
    assert len(item.title) <= 72
    row = json.loads(answer.out)
    assert (row["id"], row["state"], row["after"]) == ("a", "blocked", ["first"])


def test_an_import_prints_the_ids_in_order_and_adds_what_add_would(root: Path, cli: CommandLine) -> None:
    (root / "items").write_text(
        "- {command: make pages, title: Pages, id: p, priority: low}\n- {prompt: Read, after: [p], timeout: 90}\n"
    )

    answer = cli("import", "items")

    assert (answer.code, answer.out, answer.err) == (0, "p\nread\n", "2 items added\n")
    assert stored(root, "p").item.priority == 9
    assert (stored(root, "read").item.after, stored(root, "read").item.timeout_seconds) == (("p",), 90.0)
    (root / "items").write_text("")
    assert cli("import", "items", "--json")[:2] == (0, "[]\n")


def test_an_item_that_does_not_exist_is_exit_code_1(cli: CommandLine) -> None:
    commands = ["show", "logs", "retry", "cancel", "answer", "approve", "reject"]

    answers = [cli(name, "nope", *(["text"] if name in {"answer", "reject"} else [])) for name in commands]

    assert {(answer.code, answer.line) for answer in answers} == {
        (1, "there is no item 'nope'; `parallel-loop list` shows them all")
    }
