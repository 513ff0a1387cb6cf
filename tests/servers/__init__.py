"""Real servers for tests, each on a port the system picks."""
