"""The protocol itself, explored: every interleaving of three processes on two items, deaths between any two steps."""

from __future__ import annotations

import pytest

from model.explore import explore
from model.protocol import Protocol
from model.states import Chances
from model.textbook import Directories

DEATHS = Chances(importing=True, crashes=2, releases=1)
CALM = DEATHS._replace(importing=False, releases=0)
CANCELS = CALM._replace(cancels=1)
LATE_OWNERS = CALM._replace(crashes=1, misjudged=1)
ONE_DEATH = CALM._replace(crashes=1)

IMPORT = {"go on importing", "link item", "offer first", "end import"}
RELEASE = {"check release", "withdraw release", "offer next"}
CANCEL = {"link cancel", "check cancel"}
MISJUDGE = {"link misjudged release"}
LATE_OUTCOME = {"withdraw done"}


@pytest.mark.parametrize(
    ("chances", "healing", "least_states", "never_made"),
    [  # without healing, the notes of the dead must be enough to find what they left
        pytest.param(DEATHS, False, 90_000, CANCEL | MISJUDGE | LATE_OUTCOME, id="deaths"),
        pytest.param(CANCELS, False, 60_000, IMPORT | RELEASE | MISJUDGE | LATE_OUTCOME, id="cancels"),
        pytest.param(LATE_OWNERS, True, 100_000, IMPORT | RELEASE | CANCEL, id="late owners"),
    ],
)
def test_no_order_of_steps_breaks_a_rule_and_each_leaves_a_way_to_the_end(
    chances, healing, least_states, never_made
) -> None:
    machine = Protocol(chances, healing=healing)
    explored = explore(machine)
    assert explored.problem is None, explored
    assert len(explored.states) > least_states
    assert ("crcd", "crcd") in {tuple(item.records for item in items) for items, _, _ in explored.states}
    made = {process.step for _, processes, _ in explored.states for process in processes} - {"dead", "buried"}
    assert made == set(machine.steps) - never_made


@pytest.mark.large
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "chances",
    [DEATHS._replace(cancels=1), CALM._replace(misjudged=1, cancels=1), CALM._replace(misjudged=1, releases=1)],
    ids=["deaths and cancels", "late owners and cancels", "late owners and failures"],
)
def test_the_rules_hold_with_more_mishaps_in_one_run(chances) -> None:
    explored = explore(Protocol(chances, healing=bool(chances.misjudged)))
    assert explored.problem is None, explored
    assert len(explored.states) > 390_000


@pytest.mark.parametrize(
    ("mutant", "chances", "problem"),
    [
        ("broken by unlink", CALM, "a number is used again"),
        ("take back by age", CALM, "a claim is taken back from a living worker"),
        ("no number", LATE_OWNERS, "an outcome by a worker whose claim was taken back"),
        ("no look at the anchor", CALM, "a packed item is taken"),
        ("records before the anchor", CALM, "a packed item is taken"),
        ("pack after the anchor", CALM, "an item is lost"),
        ("no look into the pack", CALM, "a worker is told that its outcome does not count, and it does"),
        ("imported again", DEATHS, "a packed item is taken"),
        ("note after the link", ONE_DEATH, "no clean end can be reached"),
        ("chain read before the lock", ONE_DEATH, "no clean end can be reached"),
        ("note dropped before the hint", CALM, "no clean end can be reached"),
    ],
)
def test_a_mutant_of_the_protocol_is_caught(mutant, chances, problem) -> None:
    explored = explore(Protocol(chances, mutant))
    assert explored.problem == problem, explored
    assert len(explored.path) > 3  # the way to it is told


@pytest.mark.parametrize(
    ("rename", "problem"),
    [(False, "two workers were given one item"), (True, "an outcome by a worker whose claim was taken back")],
    ids=["link, unlink, rename", "rename"],
)
def test_states_that_are_directories_are_wrong(rename, problem) -> None:
    explored = explore(Directories(rename=rename))
    assert explored.problem == problem, explored
