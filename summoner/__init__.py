"""The Summoner runtime: a client for agents, the relay they meet on, and the flow that routes their messages.

An independent implementation of the Summoner SDK's interface and wire format. Agents import from
`summoner.client`, `summoner.server` and `summoner.protocol`; importing this package itself loads nothing and,
unlike the official SDK, never touches `sys.path` (P1).
"""

from summoner._version import __version__

__all__ = ["__version__"]
