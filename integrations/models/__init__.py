"""Tables of the integrations app, one module each."""

from integrations.models.call_share import CallShare
from integrations.models.client_key import ClientKey, ClientKeyAlgorithm
from integrations.models.connect_link import ConnectLink
from integrations.models.connection import Connection, ConnectionState, ConnectionStatus
from integrations.models.integration import GrantType, Integration
from integrations.models.notice import Notice, NoticeKind
from integrations.models.notice_mail import NoticeDigest, NoticeMail
from integrations.models.notice_settings import MailChoice, NoticeSettings, default_mail_choice, mail_choice_of
from integrations.models.pending_authorization import PendingAuthorization
from integrations.models.provider import CustomProvider, CustomProviderVersion, ProviderVersionSecrets
from integrations.models.provider_outage import ProviderOutage
from integrations.models.provider_pause import ProviderPause
from integrations.models.token import IssuedToken, Token, TokenSchedule, TokenSecrets, sealed_tokens, store_tokens
from integrations.models.webhook import (
    DeliveryStatus,
    DisabledBecause,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
)

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
    "DeliveryStatus",
    "DisabledBecause",
    "GrantType",
    "Integration",
    "IssuedToken",
    "MailChoice",
    "Notice",
    "NoticeDigest",
    "NoticeKind",
    "NoticeMail",
    "NoticeSettings",
    "PendingAuthorization",
    "ProviderOutage",
    "ProviderPause",
    "ProviderVersionSecrets",
    "Token",
    "TokenSchedule",
    "TokenSecrets",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
    "default_mail_choice",
    "mail_choice_of",
    "sealed_tokens",
    "store_tokens",
]
