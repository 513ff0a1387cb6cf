"""Routes of the health page. Apart from the integrations' own, so that the sidebar marks its entry."""

from __future__ import annotations

from django.urls import path

from integrations.health import views

app_name = "health"
urlpatterns = [
    path("w/<slug:workspace>/health/", views.page, name="page"),
    path("w/<slug:workspace>/health/seen/", views.seen, name="seen"),
    path("w/<slug:workspace>/settings/notifications/", views.notifications, name="notifications"),
]
