"""The relay that agents meet on.

`SummonerServer` runs one as a program; `Relay.listening` embeds one in an asyncio program, with `RelaySettings` for
what can be set about it, `Pause` among them.
"""

from summoner.server.relay import Relay
from summoner.server.server import SummonerServer
from summoner.server.settings import Pause, RelaySettings

__all__ = ["Pause", "Relay", "RelaySettings", "SummonerServer"]
