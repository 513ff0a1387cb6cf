"""The processes of one installation, its probes, its settings, and the sandbox."""
