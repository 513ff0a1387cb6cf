"""Pages of integrations and their connections: a decorator, a form, one verb, one response each.

listing        the Integrations page
detail         overview, connections, activity of one integration
setup          its configuration and scopes
authorization  connecting with OAuth, and the callback
links          connect links, for people outside the workspace
redirect_host  choosing a redirect host, and forwarding its callback
checks         test connection, fetch token, try now
removal        disconnect and delete
"""
