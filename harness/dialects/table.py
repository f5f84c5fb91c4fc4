"""The dialects by the names that the configuration has for them."""

from __future__ import annotations

from .claude import CLAUDE
from .codex import CODEX
from .cursor import CURSOR
from .dialect import Dialect
from .gemini import GEMINI
from .opencode import OPENCODE
from .text import TEXT
from .trajectory import TRAJECTORY

_ALL = (TEXT, CLAUDE, CODEX, GEMINI, OPENCODE, TRAJECTORY, CURSOR)
BY_NAME: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
