"""One zygote for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.federation import Tiny, tiny_federation


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    """A zygote, and a federation whose undisturbed end is known."""
    with tiny_federation(tmp_path_factory.mktemp("faults")) as running:
        yield running
