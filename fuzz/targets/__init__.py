"""One module for each target: `check(data)`, `WORDS` that mean something to it, and `IS_JSON` where only JSON does."""
