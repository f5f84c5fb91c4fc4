"""Sessions that only the agent can go on with that had them: whose turn it is to take their items."""

from __future__ import annotations

from collections.abc import Callable

from ...queue.atomic import Unreadable
from ...queue.clock import later
from ...queue.records import TAKABLE_AFTER, Entry
from ..project import Project
from ..state import living_worker
from .standing import Kept, State

SESSION_SECONDS = 60.0  # for which a session waits for its agent


class Sessions:
    """The sessions, as one agent sees them. `ends`: until when those wait that were left to others at the last take."""

    def __init__(self, project: Project, agent: str) -> None:
        self._project, self._agent = project, agent
        self.ends: dict[str, str] = {}

    def own(self, state: State, can_use: Callable[[str], bool]) -> set[str]:
        """Return the items with a session that we can go on with now, as far as chain and account say so."""
        return {
            one.item for one in state.kept if one.agent == self._agent and can_use(one.account) and self._is_due(one)
        }

    def _is_due(self, kept: Kept) -> bool:
        entry = self._entry(kept.item)
        last = None if entry is None else entry.last
        return last is not None and last.kind in TAKABLE_AFTER and (last.not_before or "") <= self._project.queue.now()

    def waits_for_another(self, item_id: str, state: State) -> bool:
        """Whether the item, which can be taken, is to be left to another agent, which has a worker."""
        kept = next((one for one in state.kept if one.item == item_id), None)
        if kept is None or kept.agent == self._agent:
            return False
        until, now = later(self._takable_since(kept, state), SESSION_SECONDS), self._project.queue.now()
        is_over = not now < until <= later(now, 2 * SESSION_SECONDS)  # also when the clock was put back
        if is_over or living_worker(self._project.state.agent(kept.agent)) is None:
            return False
        self.ends[item_id] = until
        return True

    def _takable_since(self, kept: Kept, state: State) -> str:
        """Return since when the item can be taken: it was given back, or answered, and its account is open."""
        entry = self._entry(kept.item)
        last = None if entry is None else entry.last
        account = state.get(kept.account)
        moments = (last and last.at, last and last.not_before, account and account.opened, kept.at)
        return max(moment for moment in moments if moment)

    def _entry(self, item_id: str) -> Entry | None:
        try:
            return self._project.queue.entry(item_id)
        except Unreadable:
            return None
