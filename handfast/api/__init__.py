"""For programs that talk to agents: a `Node` sends and receives messages over whatever moves JSON objects (docs/api.md)."""

from handfast.api.letters import Receipt
from handfast.api.node import Node
from handfast.api.peer import Message, Peer
from handfast.api.relay import relay_lines, summoner
from handfast.api.transport import Connection, Hub, Transport, TransportError
from handfast.mail import Fate

__all__ = [
    "Connection",
    "Fate",
    "Hub",
    "Message",
    "Node",
    "Peer",
    "Receipt",
    "Transport",
    "TransportError",
    "relay_lines",
    "summoner",
]
