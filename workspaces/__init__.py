"""Tenancy: workspaces, their people, keys and audit trail. Imports nothing of ours."""
