"""Tables of the workspaces app, one module each: user, workspace, membership, invitation, API key, audit event, …"""

from workspaces.models.api_key import ApiKey
from workspaces.models.audit import ActorKind, AppendOnlyError, AuditEvent, AuditResult
from workspaces.models.invitation import Invitation
from workspaces.models.membership import Membership
from workspaces.models.rate_limit import RateLimitWindow
from workspaces.models.user import User
from workspaces.models.workspace import Workspace

__all__ = [
    "ActorKind",
    "ApiKey",
    "AppendOnlyError",
    "AuditEvent",
    "AuditResult",
    "Invitation",
    "Membership",
    "RateLimitWindow",
    "User",
    "Workspace",
]
