"""The only door to the network.

addresses  which URLs and addresses may be reached (pure)
resolver   names to checked addresses, within a deadline
deadline   sockets that obey a deadline by the clock
client     bounded HTTP sessions by profile, reused per thread
quiet      keeps the loggers of HTTP and OAuth libraries from printing secrets
errors     what can go wrong, in plain words
"""
