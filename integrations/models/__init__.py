"""Tables of the integrations app, one module each."""

from integrations.models.call_share import CallShare
from integrations.models.client_key import ClientKey, ClientKeyAlgorithm
from integrations.models.connect_link import ConnectLink
from integrations.models.connection import Connection, ConnectionState, ConnectionStatus
from integrations.models.integration import GrantType, Integration
from integrations.models.notice import Notice, NoticeKind
from integrations.models.pending_authorization import PendingAuthorization
from integrations.models.provider import CustomProvider, CustomProviderVersion, ProviderVersionSecrets
from integrations.models.provider_pause import ProviderPause
from integrations.models.token import IssuedToken, Token, TokenSchedule, TokenSecrets, sealed_tokens, store_tokens

__all__ = [
    "CallShare",
    "ClientKey",
    "ClientKeyAlgorithm",
    "ConnectLink",
    "Connection",
    "ConnectionState",
    "ConnectionStatus",
    "CustomProvider",
    "CustomProviderVersion",
    "GrantType",
    "Integration",
    "IssuedToken",
    "Notice",
    "NoticeKind",
    "PendingAuthorization",
    "ProviderPause",
    "ProviderVersionSecrets",
    "Token",
    "TokenSchedule",
    "TokenSecrets",
    "sealed_tokens",
    "store_tokens",
]
