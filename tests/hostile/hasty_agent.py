"""An agent with all its clocks ten times as fast, so that a short run sees many losses; the ratios are the shipped ones."""

import sys

import quickened

if __name__ == "__main__":
    sys.exit(quickened.main(answers=10, closes=10, background=10))
