"""Every route of a workspace's redirect host: its callback is forwarded, its connect pages are served, and no more."""

from __future__ import annotations

from django.urls import include, path

from integrations.connections.views import links, redirect_host

_integrations = [
    path("oauth/callback", redirect_host.forward_callback, name="oauth_callback"),
    path("connect/<str:token>/", links.connect_link, name="connect_link"),
    path("connect/again/<uuid:link_id>/", links.connect_link_again, name="connect_link_again"),
]
urlpatterns = [path("", include((_integrations, "integrations")))]

handler400 = "workspaces.views.errors.bad_request"
handler403 = "workspaces.views.errors.permission_denied"
handler404 = "workspaces.views.errors.nothing_here"
handler500 = "workspaces.views.errors.server_error"
