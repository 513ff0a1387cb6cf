"""The sandbox authorization server of `manage.py up`, so that a newcomer runs every flow offline.

A second Django project with its own settings, database, secret and cookies; it shares no model and no table with
Grantry, and Grantry treats it like any other provider.

- `settings`: from SANDBOX_* variables
- `seed`: its people, clients and notes
- `views`: login, consent, the protected API
- `__main__`: migrate, seed, serve
"""
