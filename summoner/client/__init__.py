"""The client: an agent's connection to a relay, and the handlers that give it a behaviour (section 4)."""

from summoner.client.client import ServerDisconnected, SummonerClient
from summoner.client.merger import ClientMerger, ClientTranslation

__all__ = ["ClientMerger", "ClientTranslation", "ServerDisconnected", "SummonerClient"]
