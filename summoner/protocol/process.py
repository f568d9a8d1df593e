"""The importable names of `summoner.protocol.process`; each lives in the private module that defines it."""

from summoner.protocol._handlers import ClientIntent, Direction, Receiver, Sender
from summoner.protocol._nodes import Node
from summoner.protocol._routes import ArrowStyle, ParsedRoute, route_matches
from summoner.protocol._tape import StateTape, TapeActivation, TapeType

__all__ = [
    "ArrowStyle",
    "ClientIntent",
    "Direction",
    "Node",
    "ParsedRoute",
    "Receiver",
    "Sender",
    "StateTape",
    "TapeActivation",
    "TapeType",
    "route_matches",
]
