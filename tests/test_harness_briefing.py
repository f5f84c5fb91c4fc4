"""What an agent program is sent: `show --prompt` says it beforehand, and the attempt sends it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.harness import briefing
from parallel_loop.harness.configuration.config import ConfigError, load_config
from parallel_loop.harness.configuration.prompt_template import PLACEHOLDERS
from parallel_loop.queue.requests import answer
from support.actors import actor, script
from support.cli import CommandLine
from support.harness import Workshop, make_workshop, spare_others
from support.repository import commit

PROGRAMS = f"""
program: actor
retry: {{attempts: 3, first: 0s}}
programs:
  actor: {actor(stop="0s")}
  reader: {{argv: [sh, -c, "cat > $PARALLEL_LOOP_WORKTREE/got"]}}
"""
ASK = f"{briefing.own_command()} ask"
RULES = f"""Rules of this place:
- Work in the current directory. It is a git worktree of your own, on the branch parallel-loop/item/one/1. \
Change nothing outside of it.
- Commit what you have done. What you leave uncommitted is committed for you when you have ended.
- Do not push, and do not switch, rename or delete branches.
- If you need a person to go on, run `{ASK} "QUESTION"` and end; the answer comes with the next prompt.
- Nobody sees what you do meanwhile, and nobody can confirm anything: do not wait for that."""

Make = Callable[[str], Workshop]


@pytest.fixture
def make(tmp_path: Path, actor_home: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    spare_others(monkeypatch)
    return lambda config: make_workshop(tmp_path / "repo", PROGRAMS + config)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[Workshop], str]:
    def show(shop: Workshop) -> str:
        answer = CommandLine(capsys, monkeypatch, shop.root)("show", "one", "--prompt")
        assert answer.code == 0, answer.err
        return answer.out

    return show


def sent(shop: Workshop, attempt: int = 1) -> str:
    return shop.project.state.agent("agent-1").prompt_file("one", attempt).read_text()


def test_the_rules_of_the_place_and_the_files_for_everybody_follow_the_item(
    make: Make, told: Callable[[Workshop], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make("checks: [make test, 'true']\ncontext: [AGENTS.md, docs/gone.md, link.md, out.md, docs/long.md]\n")
    (shop.root / "link.md").symlink_to("AGENTS.md")
    (shop.root / "out.md").symlink_to("/etc/passwd")
    commit(shop.root, {"AGENTS.md": "Be $brief.\n", "docs/long.md": "x" * 500})
    (shop.root / "AGENTS.md").write_text("not committed")
    monkeypatch.setattr(briefing, "_MOST_CONTEXT_BYTES", 100)
    shop.add("one", prompt="Do $it.")
    expected = f"""Do $it.

{RULES}
- When you have ended these are run, and your work is taken only if all of them pass: `make test`, `true`

The file AGENTS.md:

Be $brief.

(The file docs/gone.md, which you were to be given, is not in the repository.)

The file link.md:

Be $brief.

(The file out.md, which you were to be given, is not in the repository.)

The file docs/long.md:

{"x" * 78}
(… and more, 500 bytes in all: read the rest of docs/long.md yourself.)"""
    assert told(shop) == expected
    shop.work_when_due("one")
    assert sent(shop) == expected


def test_on_a_terminal_a_prompt_ends_its_line(
    make: Make, told: Callable[[Workshop], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make("")
    shop.add("one", prompt="Do it.", program="shell", command="cat")
    assert told(shop) == "Do it."
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert told(shop) == "Do it.\n"


def test_a_retry_an_answer_and_a_session_that_goes_on_are_shown_beforehand(
    make: Make, told: Callable[[Workshop], str]
) -> None:
    shop = make("checks: ['false']\n")
    shop.add("one", prompt=script({"run": "echo one > notes"}, {"deny": "Bash", "wanted": "rm -rf build"}))
    shop.work_when_due("one")
    answer(shop.project.queue, "one", "You may.")
    before = told(shop)
    shop.work_when_due("one")
    assert sent(shop, 2) == before
    assert before.startswith("You were not allowed to do something: ")
    assert before.endswith("A person answered: You may.")
    assert shop.last("one").outcome == "check-failed"
    before = told(shop)
    shop.work_when_due("one")
    assert sent(shop, 3) == before
    for word in (
        "Do it.",
        "A person answered: You may.",
        "(check-failed): the check `false`",
        "item/one/3",
        "Rules of",
    ):
        assert word in before


def test_a_template_of_the_users_says_all_of_it_otherwise(
    make: Make, told: Callable[[Workshop], str], tmp_path: Path
) -> None:
    text = "\n".join(f"{name}: ${{{name}}}" for name in PLACEHOLDERS if name not in {"rules", "context"})
    (tmp_path / "ours.txt").write_text(f"$$5\n{text}\n")
    shop = make(f"checks: [make, test]\nprompt: {tmp_path}/ours.txt\n")
    shop.add("one", prompt="Do it.", role="builder")
    expected = (
        "$5\nprompt: Do it.\nid: one\ntitle: Do one\nrole: builder\nbranch: parallel-loop/item/one/1\nattempt: 1\n"
        "target: main\nanswers: \nearlier: \nchecks: make\ntest\n"
    )
    assert told(shop) == expected
    shop.work_when_due("one")
    assert sent(shop) == expected


def test_a_template_that_breaks_later_is_told_of(make: Make, tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("line\n$prompt\n")
    shop = make("prompt: ../ours.txt\n")
    (tmp_path / "ours.txt").write_text("line\n$promt\n")
    shop.add("one", prompt="Do it.")
    shop.work_when_due("one")
    assert shop.last("one").outcome == "error"
    assert "ours.txt:2: unknown placeholder $promt; did you mean `prompt`?" in (shop.last("one").why or "")


def test_commands_and_programs_of_which_nothing_is_known_get_the_item_alone(
    make: Make, told: Callable[[Workshop], str]
) -> None:
    shop = make("context: [AGENTS.md]\n")
    shop.add("one", prompt="Do it.", program="reader")
    assert told(shop) == "Do it."
    shop.work_when_due("one")
    assert sent(shop) == "Do it."
    shop.add("two", "cat", prompt="Read me.")
    shop.work_when_due("one")
    assert "Rules" not in shop.log("two")


def test_who_cannot_commit_is_told_so(make: Make, told: Callable[[Workshop], str]) -> None:
    shop = make("")
    shop.add("one", prompt="Do it.", program="codex")
    assert "- Do not commit: what you leave" in told(shop)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "own.txt cannot be read (No such file or directory); correct the path"),
        ("a\n${titel}\n", "own.txt:2: unknown placeholder $titel; did you mean `title`? `$$titel` is the text itself"),
        (
            "$prompt ${foo}",
            f"own.txt:1: unknown placeholder $foo; known here: {', '.join(PLACEHOLDERS)}; `$$foo` is the text itself",
        ),
        ("Do it, $$prompt", "own.txt has no $prompt: no program would be told what to do; write it where that goes"),
        ("a $ b", "own.txt:1: a `$` that begins no placeholder; write `$$` for one that stays"),
        (b"a\n\xff", "own.txt:2: not UTF-8 text; save the file as UTF-8"),
    ],
    ids=str,
)
def test_a_template_is_checked_with_the_configuration(tmp_path: Path, text: str | bytes | None, problem: str) -> None:
    path = tmp_path / "parallel-loop.yaml"
    path.write_text("agents: 1\nprompt: own.txt\n")
    if text is not None:
        (tmp_path / "own.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value) == f"{path}:2: prompt: {problem}"


def test_files_for_everybody_are_inside_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "parallel-loop.yaml"
    path.write_text("context: [AGENTS.md, ../secret]\n")
    with pytest.raises(ConfigError, match=r"context\[1\]: '../secret' is not inside the repository"):
        load_config(path, {})
