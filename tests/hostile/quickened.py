"""The agent with a dialogue of unique messages and some of its waits shortened; everything else is as it is shipped."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "agents" / "agent_HSAgent_1"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "agent"))

import agent
from counting_agent import Counting

import routes
from handfast.conversation.model import Settings


def main(*, answers: float, closes: float, background: float, **settings: Any) -> int:
    """Run the agent.

    Args:
        answers: by how much the waits for an answer are divided.
        closes: the same for the repetitions of `close`, which end a conversation.
        background: the same for `register` and the look at what is due.
        settings: others than these, by their names.
    """
    shipped = Settings()
    # the agent asks for its settings by this name
    quicker = {
        "retry_delays": tuple(delay / answers for delay in shipped.retry_delays),
        "close_delays": tuple(delay / closes for delay in shipped.close_delays),
        "repeat_gap": shipped.repeat_gap / answers,
    }
    vars(agent)["Settings"] = partial(Settings, **(quicker | settings))
    routes.TICK_SECONDS /= background
    routes.REGISTER_EVERY_SECONDS /= background
    routes.REGISTER_GAP_SECONDS /= background
    return int(agent.main(dialogue=Counting()))
