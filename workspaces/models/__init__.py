"""Tables of the workspaces app, one module each: user, workspace, membership, invitation, API key, audit event."""

from workspaces.models.api_key import ApiKey
from workspaces.models.audit import ActorKind, AuditEvent, AuditResult
from workspaces.models.invitation import Invitation
from workspaces.models.membership import Membership
from workspaces.models.user import User
from workspaces.models.workspace import Workspace

__all__ = ["ActorKind", "ApiKey", "AuditEvent", "AuditResult", "Invitation", "Membership", "User", "Workspace"]
