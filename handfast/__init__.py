"""Agents that meet on a relay they do not trust, prove who they are, and talk end-to-end encrypted.

`Node` is for programs that send and receive messages (docs/api.md). `Dialogue` is what an agent says that runs by itself,
`run_agent` runs one. `handfast.driver.Driver` and `handfast.session.v2` are for those who bring their own I/O.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from handfast.agent_script import run_agent
from handfast.dialogue import Dialogue

if TYPE_CHECKING:
    from handfast.api import Fate, Hub, Message, Node, Peer, Receipt, relay_lines, summoner

__all__ = [
    "Dialogue",
    "Fate",
    "Hub",
    "Message",
    "Node",
    "Peer",
    "Receipt",
    "relay_lines",
    "run_agent",
    "summoner",
]


def __getattr__(name: str) -> object:
    # a node needs the database and the cryptography; whoever wants a part of the package should not wait for all of it
    if name in __all__:
        return getattr(import_module("handfast.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
