"""System checks: what must hold before the process may start."""
