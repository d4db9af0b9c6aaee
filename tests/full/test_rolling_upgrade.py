"""Every mail host and relay gets a deploy in turn while letters arrive; takes several minutes, so not in CI.

HOLDFAST_LAB names a lab that is up and deployed; without it one is made and ended.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.story.coordinator import Records
from tests.story.machines import ROOT, Lab
from tests.story.messages import letters
from tests.story.outage import Post, users
from tests.story.stage import Stage

INVENTORY = ROOT / "inventories" / "compact"


@pytest.fixture
def stage() -> Iterator[Stage]:
    given = os.environ.get("HOLDFAST_LAB")
    lab = Lab(given or "rolling")
    if given is None:
        lab.word("down", "--purge")
        lab.word("up", "compact", timeout=1800)
        lab.word("deploy", "compact", timeout=1800)
    made = Stage(lab, Records(lab), Post(lab, users(INVENTORY)), INVENTORY)
    made.set_up()
    yield made
    if given is None:
        lab.word("down", "--purge")


def test_mail_flows_while_host_by_host_is_upgraded(stage: Stage) -> None:
    before, standby = stage.owner(), stage.standby()
    name = f"rolling{int(time.time())}"
    written, folder = letters(150, name), f"/var/tmp/story/{name}"
    stage.post.hand_over(written, folder)
    sender = stage.post.send(folder, 0.5)
    said = stage.playbook("rolling_upgrade.yml")
    assert re.search(rf"1\. {standby}: evacuate, deploy, rejoin", said), said[:3000]
    assert f"2. {before.host}: evacuate" in said and "3. relay2: deploy" in said
    after = stage.owner()
    assert (after.host, after.epoch) == (standby, before.epoch + 1), "one hand-over, when it was the owner's turn"
    assert stage.ready(before.host)
    _, error = sender.communicate(timeout=600)
    assert sender.returncode == 0, error.decode()[-500:]
    boxes = stage.wait_letters(written, 600)
    assert stage.mistakes(written, boxes) == []
