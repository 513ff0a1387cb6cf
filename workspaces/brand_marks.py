"""How a provider looks: names its `brand_icon` may take, and hues its `color` may take.

They are Simple Icons slugs, kept in `static/vendor/simple-icons/sprite.svg`, which
`python -m tests.ui.refresh_vendor` writes from this list. Any other provider gets a monogram.
"""

from __future__ import annotations

_NAMES = """
airtable asana atlassian auth0 bitbucket box calendly clickup confluence databricks datadog
digitalocean discord dropbox figma gitea github gitlab gmail google googlecalendar googlecloud
googledocs googledrive googlesheets hubspot intercom jira keycloak linear mailchimp miro notion
okta openid pagerduty quickbooks reddit sentry shopify snowflake splunk spotify stripe todoist
twitch typeform webflow x xero zendesk zoho zoom
"""
BRAND_MARKS: tuple[str, ...] = tuple(_NAMES.split())

# The palette of monograms, `g-hue-…` in grantry.css; white text is readable on each.
HUES = (
    "slate", "blue", "azure", "cyan", "teal", "green", "olive",
    "amber", "orange", "red", "pink", "plum", "violet", "indigo",
)  # fmt: skip
