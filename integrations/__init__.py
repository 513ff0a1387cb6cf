"""Providers, integrations, connections and their tokens."""
