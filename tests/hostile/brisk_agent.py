"""An agent that waits for answers as long as the shipped one, and begins the next conversation at once."""

import sys

import quickened

if __name__ == "__main__":
    sys.exit(quickened.main(answers=1, closes=20, background=10))
