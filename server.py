"""Start the relay: `python server.py [--config PATH] [--host HOST] [--port PORT]`."""

import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    # a signal in the tenth of a second of imports is an orderly end, too
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))

from summoner.server.launcher import main

STOCK_CONFIG = Path(__file__).parent / "configs" / "server_config.json"

if __name__ == "__main__":
    sys.exit(main(default_config=STOCK_CONFIG))
