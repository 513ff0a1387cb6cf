"""Connections: made, kept alive, read, tested and taken apart.

authorization       the authorization code flow, start and callback
connect_links       one-time links for people outside the workspace
recognition         a redirect host's browser, known again on PUBLIC_BASE_URL
client_credentials  the client credentials flow
refresh             batches of due tokens, and one token now
lease, schedule     who renews a token, and when (schedule is pure)
holders, lost       proof that who holds leases lives, and what becomes of leases that were left
breaker             providers that do not answer
renewal             one call to the provider, and what its answer does to the rows
commits, spool      answers that are kept while the database is away
stopping            whether this process was asked to stop
tokens              a usable token for whoever may read it
testing             one real call that says whether a connection works
revocation          disconnect and delete
status              the six statuses in plain words
parties             the authorization server and client of a connection
sweep               rows whose time is over
"""
