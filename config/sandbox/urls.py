"""Routes of the sandbox."""

from django.contrib.auth.views import LogoutView
from django.urls import include, path
from oauth2_provider import views as oauth
from oauth2_provider.urls import metadata_urlpatterns

from config.sandbox import views

# The package's views reverse names in this namespace.
oauth_urlpatterns = [
    *metadata_urlpatterns,
    path("o/authorize/", views.ConsentView.as_view(), name="authorize"),
    path("o/token/", oauth.TokenView.as_view(), name="token"),
    path("o/revoke_token/", oauth.RevokeTokenView.as_view(), name="revoke-token"),
    path("o/introspect/", oauth.IntrospectTokenView.as_view(), name="introspect"),
]

urlpatterns = [
    path("", views.home, name="home"),
    path("healthz", views.healthz, name="healthz"),
    path("login/", views.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("api/me/", views.me, name="me"),
    path("api/notes/", views.notes, name="notes"),
    path("", include((oauth_urlpatterns, "oauth2_provider"))),
]
