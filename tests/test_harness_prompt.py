"""What the next attempt is told."""

from __future__ import annotations

from parallel_loop.harness.prompt import compose
from parallel_loop.queue.records import Entry, Item, Kind, Record

AT = "2026-01-01T00:00:00.000000Z"


def record(kind: Kind, **fields: object) -> Record:
    return Record(**({"kind": kind, "at": AT} | fields))


CLAIM = record("claimed")
CHECK = record(
    "released", outcome="check-failed", why="the check `make` ended with exit code 2", branch="b/1", text="E: line 3"
)


def prompt(*records: Record, text: str = "Fix the login.") -> str:
    return compose(Entry(Item(id="one", title="One", added_at=AT, prompt=text), records))


def test_the_first_attempt_gets_the_prompt_as_it_was_written() -> None:
    assert prompt(CLAIM, text="  {item}\n\0ü\n") == "  {item}\n\0ü\n"
    assert prompt(CLAIM, text="") == ""


def test_a_retry_is_told_why_where_the_work_is_and_how_the_output_ended() -> None:
    assert prompt(CLAIM, CHECK, CLAIM) == (
        "Fix the login.\n\n"
        "An earlier attempt did not land (check-failed): the check `make` ended with exit code 2\n"
        "Its work is on the branch b/1.\n"
        "The end of its output:\n"
        "E: line 3"
    )


def test_only_the_latest_failure_is_told() -> None:
    conflict = record("released", outcome="conflict", why="it conflicts with what landed meanwhile, in a.py")
    told = prompt(CLAIM, CHECK, CLAIM, record("landing", outcome="done"), conflict, CLAIM)
    assert told.endswith("An earlier attempt did not land (conflict): it conflicts with what landed meanwhile, in a.py")
    assert "check-failed" not in told


def test_an_answer_comes_with_its_question_and_the_work_so_far() -> None:
    asked = record("waiting", outcome="asked", why="Which port?", branch="b/1")
    assert prompt(CLAIM, asked, record("answered", text="8080"), CLAIM) == (
        "Fix the login.\n\n"
        "You asked: Which port?\nA person answered: 8080\n\n"
        "What was done before is on the branch b/1."
    )


def test_a_review_that_was_answered_is_no_question() -> None:
    review = record("waiting", outcome="review", why="wants a look", branch="b/1")
    told = prompt(CLAIM, review, record("answered", text="rename it"), CLAIM)
    assert "The work on the branch b/1 was looked at, and did not land.\nA person answered: rename it" in told
    assert "asked" not in told


def test_each_rejection_names_the_branch_that_it_is_about() -> None:
    records = [CLAIM]
    for number in (1, 2):
        records += [record("waiting", outcome="review", why="wants a look", branch=f"b/{number}"), CLAIM]
        records.insert(-1, record("answered", text=f"reason {number}"))
    told = prompt(*records)
    for number in (1, 2):
        said = f"The work on the branch b/{number} was looked at, and did not land.\nA person answered: reason {number}"
        assert said in told


def test_an_interruption_is_told_only_when_it_left_work() -> None:
    interrupted = record("released", outcome="interrupted", why="stopped before it was done", counted=False)
    assert prompt(CLAIM, interrupted, CLAIM) == "Fix the login."
    left = record("released", outcome="interrupted", why="stopped", counted=False, branch="b/1", commit="abc")
    assert "Its work is on the branch b/1." in prompt(CLAIM, left, CLAIM)
    assert "check-failed" in prompt(CLAIM, CHECK, CLAIM, interrupted, CLAIM), "the failure before it still matters"


def test_what_a_person_said_who_interrupted_is_told_once() -> None:
    why = "a person interrupted it: It is SQLite."
    interrupted = record("released", outcome="interrupted", why=why, text="It is SQLite.", counted=False)
    assert prompt(CLAIM, interrupted, CLAIM) == (
        f"Fix the login.\n\nAn earlier attempt did not land (interrupted): {why}"
    )


def test_each_interruption_is_told_and_what_failed_before_them() -> None:
    def interrupted(said: str, **fields: object) -> Record:
        why = f"a person interrupted it: {said}"
        return record("released", outcome="interrupted", why=why, text=said, counted=False, **fields)

    first, second = interrupted("It is SQLite."), interrupted("Use port 8080.", branch="b/3", commit="abc")
    older = record("released", outcome="timed-out", why="it was stopped")
    told = prompt(CLAIM, interrupted("Old."), CLAIM, older, CLAIM, CHECK, CLAIM, first, CLAIM, second, CLAIM)
    assert told.endswith(
        "An earlier attempt did not land (check-failed): the check `make` ended with exit code 2\n"
        "Its work is on the branch b/1.\n"
        "The end of its output:\n"
        "E: line 3\n\n"
        "An earlier attempt did not land (interrupted): a person interrupted it: It is SQLite.\n\n"
        "An earlier attempt did not land (interrupted): a person interrupted it: Use port 8080.\n"
        "Its work is on the branch b/3."
    )
    assert "Old." not in told
    assert "timed-out" not in told


def test_of_attempts_that_cost_nothing_the_latest_to_leave_work_is_told() -> None:
    left = [
        record("released", outcome="limited", why=f"limit {number}", counted=False, branch=f"b/{number}", commit="abc")
        for number in (2, 3)
    ]
    told = prompt(CLAIM, CHECK, CLAIM, left[0], CLAIM, left[1], CLAIM)
    assert "check-failed" in told
    assert "limit 3" in told
    assert "limit 2" not in told


def test_a_person_who_asks_for_a_retry_changes_nothing_about_what_is_known() -> None:
    failed = record("failed", outcome="timed-out", why="it was stopped after 60 s, its time limit")
    assert "(timed-out): it was stopped after 60 s" in prompt(CLAIM, failed, record("retried"), CLAIM)


def test_after_a_cancelled_item_is_retried_its_work_may_have_become_salvage() -> None:
    failed = record("released", outcome="failed", why="it failed", branch="parallel-loop/item/one/1")
    said = prompt(CLAIM, failed, record("cancelled"), record("retried"), CLAIM)
    ref = "refs/parallel-loop/salvage/one/1"
    assert f"Its work is on the branch parallel-loop/item/one/1, or if that is gone under {ref}." in said
