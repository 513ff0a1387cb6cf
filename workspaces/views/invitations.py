"""The page behind an invitation's link: join with one's account, or make one."""

from __future__ import annotations

from allauth.account.utils import perform_login
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from workspaces.addresses import find_user, owns_address
from workspaces.audit import Actor
from workspaces.errors import InvitationGone, NotAllowed, RateLimited
from workspaces.forms import AcceptForm
from workspaces.invitations import accept_as_new_person, accept_invitation, find_invitation
from workspaces.middleware import client_address
from workspaces.models import Invitation
from workspaces.rate_limits import hit

TRIES_PER_TEN_MINUTES = 60  # by one address; a link has 256 random bits, this only keeps the noise down


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def accept(request: HttpRequest, token: str) -> HttpResponse:
    """Show who invites to what (GET changes nothing: mail scanners follow links), and accept by POST."""
    try:
        hit("invitation", client_address(request), limit=TRIES_PER_TEN_MINUTES, seconds=600)
        invitation = find_invitation(token)
        if request.user.is_authenticated:
            return _accept_signed_in(request, invitation)
        if find_user(invitation.email) is not None:
            return _page(request, invitation, "sign_in", login_url=_login_url(request))
        return _accept_new(request, invitation)
    except InvitationGone as error:
        return render(request, "workspaces/invitation_gone.html", {"message": str(error)}, status=410)
    except NotAllowed:  # an account with this address was made, or changed hands, since the page was shown
        return redirect(request.path)
    except RateLimited as error:
        response = render(request, "workspaces/invitation_gone.html", {"message": str(error)}, status=429)
        response.headers["Retry-After"] = str(error.retry_after)
        return response


def _accept_signed_in(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    user = request.user
    assert user.is_authenticated  # noqa: S101 (narrows the type; the caller has checked)
    if not owns_address(user, invitation.email):
        return _page(request, invitation, "other_account", login_url=_login_url(request))
    if request.method != "POST":
        return _page(request, invitation, "accept")
    accept_invitation(invitation, user, actor=Actor.member(user, getattr(request, "request_id", None)))
    messages.success(request, f"Welcome to {invitation.workspace.name}.")
    return redirect("integrations:list", workspace=invitation.workspace.slug)


def _accept_new(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    form = AcceptForm(request.POST if request.method == "POST" else None, email=invitation.email)
    if request.method != "POST" or not form.is_valid():
        return _page(request, invitation, "new", form=form, status=422 if form.errors else 200)
    membership = accept_as_new_person(
        invitation, name=form.cleaned_data["name"], password=form.cleaned_data["password"]
    )
    target = reverse("integrations:list", kwargs={"workspace": invitation.workspace.slug})
    response: HttpResponse = perform_login(request, membership.user, redirect_url=target)
    return response


def _page(
    request: HttpRequest, invitation: Invitation, step: str, *, status: int = 200, **context: object
) -> HttpResponse:
    page = {"invitation": invitation, "step": step, **context}
    return render(request, "workspaces/invitation.html", page, status=status)


def _login_url(request: HttpRequest) -> str:
    return f"{reverse('account_login')}?next={request.path}"
