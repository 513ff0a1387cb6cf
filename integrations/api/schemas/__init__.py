"""Shapes of requests and answers, by resource: what the OpenAPI document describes."""
