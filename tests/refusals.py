"""What is refused is refused in one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from federation.errors import InputError


def refusal_of(opening: Callable[[], object]) -> str:
    """Open what must be refused, and return the one line that says why."""
    with pytest.raises(InputError) as caught:
        opening()
    line = str(caught.value)
    assert "\n" not in line
    return line
