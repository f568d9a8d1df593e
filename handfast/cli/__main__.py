"""`python -m handfast.cli`: the same as the command `handfast`."""

from handfast.cli import main

if __name__ == "__main__":
    main()
