"""Routes of webhooks, under `/w/<workspace>/webhooks/`."""

from __future__ import annotations

from django.urls import path

from integrations.webhooks import views

ONE = "<uuid:endpoint_id>/"
DELIVERY = "deliveries/<uuid:delivery_id>/"

app_name = "webhooks"
urlpatterns = [
    path("", views.endpoint_list, name="list"),
    path("new/", views.create, name="new"),
    path(ONE, views.detail, name="detail"),
    path(ONE + "edit/", views.edit, name="edit"),
    path(ONE + "switch/", views.switch, name="switch"),
    path(ONE + "test/", views.test, name="test"),
    path(ONE + "replay/", views.replay_failed, name="replay_failed"),
    path(ONE + "roll-secret/", views.roll, name="roll"),
    path(ONE + "delete/", views.delete, name="delete"),
    path(DELIVERY, views.delivery_detail, name="delivery"),
    path(DELIVERY + "replay/", views.delivery_replay, name="delivery_replay"),
]
