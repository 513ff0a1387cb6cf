"""Commands of the project: up, serve, worker, sandbox."""
