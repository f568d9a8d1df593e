"""`ClientMerger` and `ClientTranslation`: clients rebuilt from the handlers of others (section 7).

Not available yet. The names exist so that programs importing them load, and say what is missing when they are used.
"""

from typing import Any

from summoner.client.client import SummonerClient


class ClientMerger(SummonerClient):
    """A client that replays the handlers of several sources. Not available yet: raises `NotImplementedError`."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        raise NotImplementedError("merging clients is not available in this version of the summoner package")


class ClientTranslation(SummonerClient):
    """A client built from one DNA list. Not available yet: raises `NotImplementedError`."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        raise NotImplementedError(
            "building a client from DNA is not available in this version of the summoner package"
        )
