"""Template tags: `ui`."""
