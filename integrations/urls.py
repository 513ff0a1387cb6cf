"""Routes of the integrations app: pages under `/w/<workspace>/integrations/`, the callback, connect links, the API."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, register_converter

from integrations.connections.views import (
    authorization,
    checks,
    client_keys,
    detail,
    discovery,
    links,
    listing,
    provider_edit,
    provider_files,
    provider_inspector,
    provider_wizard,
    redirect_host,
    removal,
    sandbox,
    setup,
    token_policy,
)
from integrations.models import GrantType


class GrantTypeConverter:
    """Matches the two grant types only, so that `custom/new/` and its like can never be taken for an integration."""

    regex = "|".join(GrantType.values)

    def to_python(self, value: str) -> str:
        """The value as it is."""
        return value

    def to_url(self, value: str) -> str:
        """The value as it is."""
        return str(value)


register_converter(GrantTypeConverter, "grant_type")

PAGES = "w/<slug:workspace>/integrations/"
CUSTOM = PAGES + "custom/<slug:provider_id>/"
ONE = PAGES + "<slug:provider_id>/<grant_type:grant_type>/"
CONNECTION = ONE + "connections/<uuid:connection_id>/"

app_name = "integrations"
urlpatterns: list[URLPattern | URLResolver] = [
    path(PAGES, listing.integrations, name="list"),
    path(PAGES + "sandbox/connect/", sandbox.sandbox_connect, name="sandbox_connect"),
    path(PAGES + "custom/new/", provider_wizard.custom_new, name="custom_new"),
    path(PAGES + "custom/import/", provider_files.custom_import, name="custom_import"),
    path(CUSTOM + "edit/", provider_edit.custom_edit, name="custom_edit"),
    path(CUSTOM + "publish/", provider_edit.custom_publish, name="custom_publish"),
    path(CUSTOM + "discard/", provider_edit.custom_discard, name="custom_discard"),
    path(CUSTOM + "export/", provider_files.custom_export, name="custom_export"),
    path(CUSTOM + "inspect/", provider_inspector.custom_inspect, name="custom_inspect"),
    path(CUSTOM + "delete/", removal.provider_delete, name="provider_delete"),
    path(ONE, detail.overview, name="detail"),
    path(ONE + "overview/", detail.overview, name="overview"),
    path(ONE + "configuration/", setup.configuration, name="configuration"),
    path(ONE + "discover/", discovery.discover, name="discover"),
    path(ONE + "scopes/", setup.scopes, name="scopes"),
    path(ONE + "connections/", detail.connections, name="connections"),
    path(ONE + "connections/new/", authorization.connection_new, name="connection_new"),
    path(ONE + "activity/", detail.activity, name="activity"),
    path(ONE + "connect/", authorization.connect, name="connect"),
    path(ONE + "fetch-token/", checks.fetch_token, name="fetch_token"),
    path(ONE + "test/", checks.test, name="test"),
    path(ONE + "connect-links/", links.connect_link_create, name="connect_link_create"),
    path(ONE + "client-key/rotate/", client_keys.client_key_rotate, name="client_key_rotate"),
    path(ONE + "client-key/<uuid:client_key_id>/delete/", client_keys.client_key_delete, name="client_key_delete"),
    path(ONE + "inspect/", provider_inspector.inspect, name="inspect"),
    path(ONE + "delete/", removal.integration_delete, name="integration_delete"),
    path(CONNECTION, detail.connection, name="connection"),
    path(CONNECTION + "edit/", authorization.connection_edit, name="connection_edit"),
    path(CONNECTION + "change/", detail.connection_change, name="connection_change"),
    path(CONNECTION + "refresh/", checks.refresh, name="refresh"),
    path(CONNECTION + "disconnect/", removal.disconnect, name="disconnect"),
    path(CONNECTION + "delete/", removal.connection_delete, name="connection_delete"),
    # Without a trailing slash: this exact address is registered at every provider.
    path("oauth/callback", authorization.oauth_callback, name="oauth_callback"),
    path("oauth/callback/result/<uuid:reference>/", authorization.callback_result, name="callback_result"),
    path("oauth/jwks/<uuid:integration_id>/", client_keys.jwks, name="jwks"),
    path("connect/<str:token>/", links.connect_link, name="connect_link"),
    path("api/v1/", include("integrations.api.urls")),
]

# Part of the workspace's settings, and so in the sidebar; here because they tell what becomes of integrations.
redirect_host_patterns = [
    path("", redirect_host.change, name="change"),
    path("clear/", redirect_host.clear, name="clear"),
]
token_policy_patterns = [path("", token_policy.change, name="change")]
