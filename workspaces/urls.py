"""Routes of the workspaces app. Everything inside a workspace stands under `/w/<slug>/`."""

from django.urls import include, path

from workspaces.views import api_keys, audit, home, invitations, members, settings

app_name = "workspaces"

_inside = [
    path("members/", members.member_list, name="members"),
    path("members/invite/", members.invite, name="member_invite"),
    path("members/leave/", members.leave, name="member_leave"),
    path("members/<uuid:membership_id>/role/", members.change_role, name="member_role"),
    path("members/<uuid:membership_id>/remove/", members.remove, name="member_remove"),
    path(
        "members/invitations/<uuid:invitation_id>/resend/",
        members.resend_invitation,
        name="member_invitation_resend",
    ),
    path(
        "members/invitations/<uuid:invitation_id>/revoke/",
        members.revoke_invitation,
        name="member_invitation_revoke",
    ),
    path("api-keys/", api_keys.api_key_list, name="api_keys"),
    path("api-keys/new/", api_keys.create, name="api_key_new"),
    path("api-keys/<uuid:key_id>/roll/", api_keys.roll, name="api_key_roll"),
    path("api-keys/<uuid:key_id>/revoke/", api_keys.revoke, name="api_key_revoke"),
    path("audit/", audit.audit_log, name="audit"),
    path("audit/export/", audit.audit_export, name="audit_export"),
    path("settings/", settings.settings, name="settings"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("workspaces/", home.switch, name="switch"),
    path("invitations/<str:token>/", invitations.accept, name="invitation_accept"),
    path("w/<slug:workspace>/", include(_inside)),
]
