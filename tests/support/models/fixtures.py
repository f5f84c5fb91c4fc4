"""The fixtures of tests with real clients, which name this module in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models.driving import NAMES, Stage, make_stage
from support.models.server import ModelServer


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server
    assert server.problems == []


@pytest.fixture(params=NAMES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, server: ModelServer) -> Stage:
    return make_stage(tmp_path, server, request.param)
