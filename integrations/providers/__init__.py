"""Providers: what they are (base), where they come from (registry, catalogue, custom)."""
