"""The `handfast` command."""
