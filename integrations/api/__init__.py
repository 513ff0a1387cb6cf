"""HTTP API v1 under `/api/v1/`: JSON in and out, API keys, the same verbs as the pages.

api             assembles routers and maps the verbs' errors, once
authentication  Bearer keys, scopes and limits; finds the object in the path, all before the body is read
problems        RFC 9457 problem details with stable codes
paging          opaque cursors
bodies          reads JSON strictly
openapi         the OpenAPI 3.1 document; `reference` draws the page from it
schemas/        the shapes; `providers`, `integrations`, … the calls, by resource
"""
