"""An agent whose conversations have twelve turns, who says again early what was lost, and is patient on a busy machine."""

import sys

import quickened

DELAYS = (0.5, 1.5, 1.0, 2.0, 4.0, 8.0, 10.0)

if __name__ == "__main__":
    sys.exit(quickened.main(answers=10, closes=1, background=10, retry_delays=DELAYS, exchanges=12))
