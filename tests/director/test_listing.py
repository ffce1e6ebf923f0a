"""What is listed of the envoys that are online: all that fits, whatever some of them have announced."""

from __future__ import annotations

from queue import SimpleQueue

from director.envoys import OnlineEnvoy
from tests.director.in_process import announcement


def test_an_announcement_that_leaves_no_room_is_listed_without_its_lists() -> None:
    said = announcement(classes=["x" * 200] * 4000, samples={"train": 7})
    envoy = OnlineEnvoy("north", said, 0.0, SimpleQueue())
    assert envoy.listed(said.ByteSize()) == said
    short = envoy.listed(said.ByteSize() - 1)
    assert (short.dataset, dict(short.samples)) == ("speech_commands", {"train": 7})
    assert short.ByteSize() < 1000
    assert len(envoy.announcement.classes) == 4000
