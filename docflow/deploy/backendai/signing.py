"""Requests as Backend.AI's manager wants them signed: HMAC-SHA256 with a key made of secret, date and host."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from docflow.deploy.backendai.credentials import Credentials

API_VERSION = "v6.20220615"
"""The oldest of the API's versions that has all that is asked for here; newer managers answer it as well."""
_NO_BODY = hashlib.sha256(b"").hexdigest()


def headers(
    credentials: Credentials, method: str, target: str, host: str, now: datetime, content_type: str
) -> dict[str, str]:
    """The headers of a request. ``target`` is path and query as sent, ``host`` as in the Host header, ``now`` in UTC.

    The body's place in the text to sign holds the hash of no body, whatever is sent: since v4.20181215 managers
    leave the body out.
    """
    date = now.isoformat(timespec="seconds")
    text = "\n".join(
        (
            method.upper(),
            target,
            date,
            f"host:{host}",
            f"content-type:{content_type.lower()}",
            f"x-backendai-version:{API_VERSION}",
            _NO_BODY,
        )
    )
    key = _mac(_mac(credentials.secret_key.encode(), now.strftime("%Y%m%d")), host)
    signature = _mac(key, text).hex()
    return {
        "Date": date,
        "Content-Type": content_type,
        "X-BackendAI-Version": API_VERSION,
        "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential={credentials.access_key}:{signature}",
    }


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
