"""Services and processes that a test may stop, freeze and kill; all are its own."""
