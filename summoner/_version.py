"""The version of the Summoner runtime whose wire format and interface this package speaks."""

__version__ = "1.3.0"
