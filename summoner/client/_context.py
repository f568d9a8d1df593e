"""`ClientContext`: what every part of a client needs to know."""

from dataclasses import dataclass

from summoner.client._intent import Intent
from summoner.client._logging import LimitedLog
from summoner.client._registry import Registry
from summoner.client._settings import ClientSettings
from summoner.protocol.flow import Flow


@dataclass(frozen=True)
class ClientContext:
    """The lasting parts of one client, handed to each of its sessions."""

    settings: ClientSettings
    registry: Registry
    flow: Flow
    intent: Intent
    log: LimitedLog
    envelope_version: str
