"""The version 1 conversation: `table` is THE table, the others hold what its rows ask and do."""
