"""Workers that outlived their coordinator: with `on_coordinator_death: finish` they finish what they have, then end."""

from __future__ import annotations

from collections.abc import Sequence

from ..harness.state import Heartbeat, StateDirectory, living_worker


def survivors(state: StateDirectory) -> list[Heartbeat]:
    """Return the last words of the workers that live; while no coordinator runs, they are of an earlier run."""
    beats = [living_worker(state.agent(name)) for name in state.agent_names()]
    return [beat for beat in beats if beat is not None]


def count(beats: Sequence[Heartbeat]) -> str:
    return f"{len(beats)} worker{'' if len(beats) == 1 else 's'} of an earlier run"


def describe(beats: Sequence[Heartbeat]) -> str:
    """Say who they are, what they do, and what can be done about it."""
    names = ", ".join(f"{beat.agent} ({beat.item})" if beat.item else beat.agent for beat in beats)
    still = "still finishes" if len(beats) == 1 else "still finish"
    return (
        f"{count(beats)} {still} what is in hand: {names}; `parallel-loop stop --now` ends that, a run goes on with it"
    )
