"""Images that a request names by address, from hosts that the settings allow: fetched here, never by an upstream.

A name is looked up once, every address that it has must be public, and the connection goes to just those: a name that
means something else a moment later changes nothing. No redirect is followed, no cookie, proxy or credential is used.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from typing import TYPE_CHECKING, Any

import orjson

from docflow.documents.sniff import HEAD_BYTES, media_type
from docflow.errors import ConfigError
from docflow.server.service.gateway.call import Call
from docflow.server.service.refusals import RETRY_SECONDS, Refusal
from docflow.settings import GatewaySettings

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver
    from yarl import URL

IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff"})
"""The kinds of images that are passed on."""
LONGEST_ADDRESS = 2_048
_ORIGIN = re.compile(r"(?:(https?)://)?([a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})*)(?::([0-9]{1,5}))?", re.IGNORECASE)
_GIVEN_OUT = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is given out: beyond it are networks' own addresses, and several ways to write one of IPv4."""
_TRANSLATED = tuple(map(ipaddress.ip_network, ("2002::/16", "2001::/32")))
"""Networks in it whose addresses stand for one of IPv4, which may be private."""


def image_type(head: bytes) -> str | None:
    """The media type of an image that begins so; None for what is not passed on."""
    found = media_type(head)
    return found if found in IMAGES else None


class ImageHosts:
    """The hosts whose images may be named by address. Belongs to no event loop."""

    def __init__(self, settings: GatewaySettings, most_bytes: int, most_at_once: int) -> None:
        """``most_bytes`` is for all images of a request, ``most_at_once`` for the requests that fetch some at a time.

        Raises ConfigError for an entry that is no host's name.
        """
        self._origins = frozenset(_origin(entry) for entry in settings.image_hosts.split(";") if entry.strip())
        self._image_bytes, self._most_bytes, self._seconds = settings.image_bytes, most_bytes, settings.image_seconds
        self._most_at_once, self._at_work = most_at_once, 0

    def allows(self, address: str) -> bool:
        """Whether an image may be fetched from there."""
        return bool(self._origins) and self._url(address) is not None

    def _url(self, address: str) -> URL | None:
        from yarl import URL

        if len(address) > LONGEST_ADDRESS:
            return None
        try:
            url = URL(address)
            origin = (url.scheme, url.raw_host, url.port)
        except ValueError:
            return None
        return url if origin in self._origins and url.raw_user is None and url.raw_password is None else None

    async def fetch(self, call: Call) -> None:
        """Put every image that a call names by address into it, as its bytes.

        Raises Refusal: 400 where one cannot be had, is too large, or is no image; 503 where too many requests fetch
        images already (a short request brings many bytes here, before it stands in any line).
        """
        if self._at_work >= self._most_at_once:
            raise Refusal(503, "too many requests are waiting", code="overloaded", retry_after=RETRY_SECONDS)
        self._at_work += 1
        try:
            await self._fetch(call)
        finally:
            self._at_work -= 1

    async def _fetch(self, call: Call) -> None:
        import aiohttp

        left = self._most_bytes
        connector = aiohttp.TCPConnector(resolver=_public_resolver(), use_dns_cache=False, limit=4)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            auto_decompress=False,
            trust_env=False,
        ) as session:
            for where, image in call.named:
                url = self._url(image["url"])
                assert url is not None  # or the call would have been refused
                try:
                    kind, data = await _get(session, url, min(left, self._image_bytes))
                except (aiohttp.ClientError, OSError, TimeoutError) as error:
                    # Why is nobody's business who can send requests: it would tell what stands in this network.
                    raise _bad(where, f"names an image that {url.raw_host} did not give") from error
                except _NotTaken as error:
                    raise _bad(where, f"names an image that is not taken: {error}") from error
                left -= len(data)
                image["url"] = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        call.raw = orjson.dumps(call.body)


class _NotTaken(Exception):
    """What came is not what may be passed on."""


async def _get(session: Any, url: URL, most: int) -> tuple[str, bytes]:
    """The media type of an image, and its bytes."""
    headers = {"Accept": "image/*", "Accept-Encoding": "identity"}
    async with session.get(url, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            raise _NotTaken(f"the answer was {answer.status}, not 200")
        data = bytearray()
        async for piece in answer.content.iter_any():
            data += piece
            if len(data) > most:
                raise _NotTaken(f"it is larger than {most:,} bytes")
        kind = image_type(bytes(data[:HEAD_BYTES]))
        if kind is None:
            raise _NotTaken("it is an image of no kind that is known")
        return kind, bytes(data)


def _public_resolver() -> AbstractResolver:
    """Finds a host's addresses for aiohttp, which connects to these alone. Made here, so that aiohttp is not imported
    where nothing is fetched."""
    from aiohttp.abc import AbstractResolver, ResolveResult

    class Public(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await looked_up(host, port)
            if not found or not all(is_public(address) for _, address in found):
                raise OSError(f"{host} has no address, or one that is not public")
            return [
                ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
                for kind, address in found
            ]

        async def close(self) -> None:
            """It holds nothing."""

    return Public()


async def looked_up(host: str, port: int) -> list[tuple[int, str]]:
    """The families and addresses of a host, each once."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((int(family), str(address[0])) for family, _, _, _, address in found))


def is_public(address: str) -> bool:
    """Whether an address is one of the whole internet, and not of this machine or its networks."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # with a zone (fe80::1%eth0): a network's own
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip not in _GIVEN_OUT or any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast


def _origin(entry: str) -> tuple[str, str, int]:
    found = _ORIGIN.fullmatch(entry.strip())
    host = found[2].lower() if found else ""
    if not found or re.fullmatch(r"[0-9.]+", host) or int(found[3] or 1) not in range(1, 65_536):
        raise ConfigError(
            f"gateway.image_hosts: {entry.strip()!r} is no host's name",
            hint="Write images.example.org, or http://images.example.org:8080; several with ; between them.",
        )
    scheme = (found[1] or "https").lower()
    return scheme, host, int(found[3] or (443 if scheme == "https" else 80))


def _bad(where: str, what: str) -> Refusal:
    return Refusal(400, f"{where} {what}", code="invalid_request")
