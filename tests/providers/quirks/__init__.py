"""Providers that do otherwise: each knob of a definition and each subclass, against a server that answers so."""
