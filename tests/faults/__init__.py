"""What happens to refresh tokens when something breaks: real processes, PostgreSQL and Redis. `make faults`."""
