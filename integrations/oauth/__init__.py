"""The OAuth protocol: values in, values out, no Django, no sockets, the clock passed in.

The only package that imports oauthlib and requests_oauthlib. The HTTP session is a parameter everywhere.

    errors          the classes with one policy each, and `describe(code)` in plain words
    refusals        which class an error code belongs to
    token_response  the strict parser of token endpoint answers (RFC 6749 §5)
    client          AuthorizationServer, OAuthClient and client authentication (RFC 6749 §2.3)
    client_assertion  signing keys, signed JWTs and private_key_jwt (RFC 7517, RFC 7523)
    session         OAuth2Session whose requests go through the caller's HTTP session
    grants          authorize, exchange, client credentials, refresh (RFC 6749, RFC 7636)
    revocation      RFC 7009
    calls           requests that no RFC describes, for providers that deviate
    jwt_bearer      a signed assertion as the grant itself (RFC 7523 §2.1)
    introspection   RFC 7662, and the userinfo endpoint
    metadata        what servers and protected resources publish about themselves, read strictly (RFC 8414, RFC 9728)
    discovery       finding that metadata from an issuer or from a protected resource
    registration    dynamic client registration (RFC 7591)
    callback        what the browser brings back (RFC 6749 §4.1.2, RFC 9207)
    sanitise        extra fields made fit for storage
    scopes          splitting, joining, comparing and checking scopes (RFC 6749 §3.3)
    patterns        regular expressions that a workspace may state, without runaway ones
"""
