"""What `--wait` makes of a share whose prompt had to wait."""

from typing import Any

import pytest

from tests.location_client.samples import CHAT, SHARE
from worker.cli.prompts import _settled
from worker.domain.policy import Pace
from worker.domain.share import Prompt, Share

IDS = {"chat_id": CHAT, "share_id": SHARE}
WAITING = {"status": "requested", **IDS, "prompt": "waiting"}


def share(prompt: Prompt, share_id: str = SHARE, **fields: Any) -> Share:
    return Share(share_id, "", 0.0, asked=True, follow=True, follow_for=60.0, prompt=prompt, **fields)


@pytest.mark.parametrize(
    ("found", "settled"),
    [
        (share(Prompt.WAITING), None),
        (share(Prompt.CALLING), None),
        (share(Prompt.SENT), WAITING | {"prompt": "sent"}),
        (share(Prompt.UNCERTAIN), WAITING | {"prompt": "uncertain"}),
        (share(Prompt.SENT, pace=Pace(), ended="first_position"), WAITING | {"prompt": "sent"}),
        (share(Prompt.WAITING, pace=Pace()), WAITING | {"status": "already_sharing", "prompt": "sent"}),
        (
            share(Prompt.SENT, refusal=("chat_not_found", 2001), ended="request_rejected"),
            {"status": "rejected", "reason": "chat_not_found", "code": 2001, **IDS},
        ),
        (share(Prompt.WAITING, ended="untracked"), {"status": "ended", "reason": "untracked", **IDS}),
        (share(Prompt.WAITING, share_id="another"), WAITING),
        (None, WAITING),
    ],
)
def test_a_result_is_brought_up_to_date(found: Share | None, settled: dict[str, Any] | None) -> None:
    assert _settled(WAITING, found) == settled
