"""The agent with a dialogue in which no two messages are ever alike, so that a second delivery of one would show."""

import sys
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "agents" / "agent_HSAgent_1"))

import agent

from handfast.dialogue import Dialogue


class Counting(Dialogue):
    def opening(self, peer: str, turn: int) -> object:
        return {"turn": turn, "unique": uuid.uuid4().hex}

    def reply(self, peer: str, message: object) -> object:
        return {"answer to": message, "unique": uuid.uuid4().hex}


if __name__ == "__main__":
    sys.exit(agent.main(dialogue=Counting()))
