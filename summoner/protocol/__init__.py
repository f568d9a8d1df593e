"""The vocabulary of an agent: routes, nodes, states, signals, events and the records of its handlers (section 5).

Nothing in this package reads from or writes to a socket, or runs a handler; `summoner.client` does.
"""

from summoner.protocol.flow import Flow
from summoner.protocol.process import Direction, Node, ParsedRoute, Receiver, Sender, StateTape
from summoner.protocol.triggers import Action, Event, Move, Signal, Stay, Test

__all__ = [
    "Action",
    "Direction",
    "Event",
    "Flow",
    "Move",
    "Node",
    "ParsedRoute",
    "Receiver",
    "Sender",
    "Signal",
    "StateTape",
    "Stay",
    "Test",
]
