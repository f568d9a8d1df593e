"""The agent, which tells half a second after its commit that a conversation was closed."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "agents" / "agent_HSAgent_1"))

import agent

from handfast.conversation.effects import Closed
from handfast.driver import Driver

_release = Driver._release


async def _release_late(self: Driver, before: Any, event: Any, taken: Any, now: float) -> Any:
    if any(isinstance(effect, Closed) for effect in taken.effects):
        await asyncio.sleep(0.5)
    return await _release(self, before, event, taken, now)


if __name__ == "__main__":
    Driver._release = _release_late  # type: ignore[method-assign]
    sys.exit(agent.main())
