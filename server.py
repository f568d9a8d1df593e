"""Start the relay: `python server.py [--config PATH] [--host HOST] [--port PORT]`."""

import sys
from pathlib import Path

from summoner.server.launcher import main

STOCK_CONFIG = Path(__file__).parent / "configs" / "server_config.json"

if __name__ == "__main__":
    sys.exit(main(default_config=STOCK_CONFIG))
