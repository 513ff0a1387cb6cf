"""The brand marks that are shipped: names a provider's `brand_icon` may take.

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
