"""Every route: pages under `/w/<workspace>/`, the OAuth callback, connect links, API, accounts, operators."""

from django.contrib import admin
from django.urls import include, path

from integrations.urls import redirect_host_patterns, token_policy_patterns

urlpatterns = [
    path("", include("workspaces.urls")),
    path("", include("integrations.urls")),
    path("", include("integrations.health.urls")),
    path("w/<slug:workspace>/settings/redirect-host/", include((redirect_host_patterns, "redirect_host"))),
    path("w/<slug:workspace>/settings/token-policy/", include((token_policy_patterns, "token_policy"))),
    path("w/<slug:workspace>/webhooks/", include("integrations.webhooks.urls")),
    path("", include("config.probes")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
]

handler400 = "workspaces.views.errors.bad_request"
handler403 = "workspaces.views.errors.permission_denied"
handler404 = "workspaces.views.errors.page_not_found"
handler500 = "workspaces.views.errors.server_error"
