"""What older versions have sent is within the limits of today, whoever sent it."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.protocol.limits import check
from tests.compatibility.replay import MESSAGES, method_of, recorded

WRITTEN = sorted(Path(__file__).parent.glob("written_by_*"))


@pytest.mark.parametrize("written", WRITTEN, ids=lambda written: written.name)
def test_every_message_of_then_is_taken_today(written: Path) -> None:
    calls = list(recorded(written))
    for call in calls:
        request, response = MESSAGES[method_of(call)]
        for kind, messages in ((request, call.requests), (response, call.responses)):
            for message in messages:
                check(kind.FromString(message))
    assert {"Connect", "Submit", "SendTaskResults", "GetModel"} <= {method_of(call) for call in calls}
