"""Providers that deviate in ways that no field of a definition can say: one module each, loaded when the app is ready.

    slack       identity of a person in a workspace, revocation by an API method, its words for a stale token
    github      revocation per app at the API, tokens of GitHub Apps that carry no scopes
    microsoft   AADSTS codes, tenants that a service account cannot use, nothing but .default for one
    google      a service account's JSON key instead of a client secret (RFC 7523 §2.1)
    salesforce  a lifetime that only introspection tells

Where a field suffices there is no class: tests/providers/quirks shows it for Figma, Notion, QuickBooks, TikTok and
Zoho.
"""

from integrations.providers.deviations import github, google, microsoft, salesforce, slack

__all__ = ["github", "google", "microsoft", "salesforce", "slack"]
