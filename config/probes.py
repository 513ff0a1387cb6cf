"""Probes."""

urlpatterns: list = []
