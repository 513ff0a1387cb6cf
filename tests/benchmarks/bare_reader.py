"""The baseline of token reads: FastAPI, SQLAlchemy and asyncpg, a bare select and decrypt.

No key, no scope, no workspace, no audit, no renewal. Settings as their manuals advise: one pooled engine per process,
connections are not checked when taken.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import DateTime, LargeBinary, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
engine = create_async_engine(url, pool_size=int(os.environ["BARE_POOL_SIZE"]), max_overflow=0)
sessions = async_sessionmaker(engine, expire_on_commit=False)
fernet = Fernet(os.environ["FERNET_KEYS"])
app = FastAPI()


class Base(DeclarativeBase):
    """Of the one table."""


class Token(Base):
    """The columns that the answer needs."""

    __tablename__ = "integrations_token"

    connection_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class TokenOut(BaseModel):
    """The answer."""

    access_token: str
    token_type: str
    expires_at: datetime | None


@app.get("/api/v1/connections/{connection_id}/token")
async def read_token(connection_id: uuid.UUID) -> TokenOut:
    """Select, decrypt, answer."""
    async with sessions() as session:
        token = (await session.execute(select(Token).where(Token.connection_id == connection_id))).scalar_one_or_none()
    if token is None:
        raise HTTPException(404)
    content: dict[str, Any] = json.loads(fernet.decrypt(token.ciphertext).partition(b"\x00")[2])
    return TokenOut(access_token=content["access_token"], token_type=content["token_type"], expires_at=token.expires_at)
