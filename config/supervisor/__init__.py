"""Keeps the processes of one installation together.

- `lifeline`: a pipe by which a process notices that the one that started it is gone
- `ports`: whether a port is free, in words a person can act on
- `supervisor`: starts children, prefixes their lines, restarts them, stops them
- `local_env`: generated secrets in `var/local.env`
- `launch`: what `manage.py up` needs before settings can be read
- `demo`: the demo workspace
"""
