"""What stands before the page: it lets through what the page needs, and nothing else.

The package that makes the page brings many addresses that are of no use here: uploads, files of
the server, proxies to other servers, ways around the queue. They do not exist behind this gate, so
no client can read a path, leave a file or make the server call another one. Nothing else but
bounded requests passes, and every answer forbids the browser to ask other servers for anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Final, TypeAlias

from sfumato.studio.limits import Limits

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


def addresses(endpoints: Collection[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The paths that may be read (GET), and those that take requests (POST)."""
    call = f"call/({'|'.join(map(re.escape, endpoints))})"
    read = (
        r"/(config/?|theme\.css|favicon\.ico|robots\.txt|manifest\.json"
        r"|(static|assets)/[\w@.+/-]+"
        r"|gradio_api/(info/?|app_id/?|startup-events|theme\.css|queue/data|heartbeat/\w+"
        rf"|{call}/\w+))?"
    )
    return re.compile(read), re.compile(rf"/gradio_api/(queue/join|{call}/?|cancel|reset/?)")


HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        b"connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


def gate(app: App, limits: Limits, hosts: Collection[str], endpoints: Collection[str]) -> App:
    """The same application behind a gate.

    Args:
        app: an ASGI application.
        limits: of what is asked.
        hosts: names by which it may be called, so that a page elsewhere cannot reach a server
            that is bound to loopback by a name of its own; none for any name.
        endpoints: names of the requests that may be made.
    """
    read, asked = addresses(endpoints)

    async def gated(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1000})
        send = _headed(send)
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        if hosts and _name(headers.get("host", "")) not in hosts:
            return await _refuse(send, 421, "this studio answers on this machine only")
        path, method = scope["path"], scope["method"]
        if ".." in path or "//" in path:
            return await _refuse(send, 404, "there is nothing here")
        if method in ("GET", "HEAD") and read.fullmatch(path):
            return await app(scope, receive, send)
        if method != "POST" or not asked.fullmatch(path):
            return await _refuse(send, 404, "there is nothing here")
        if (body := await _body(receive, headers, limits.request)) is None:
            most = limits.request / 1_000_000
            return await _refuse(send, 413, f"the request is too large; {most:g} MB are the most")
        full = f"the queue is full ({limits.queue}); try again when some are done"
        return await app(scope, _again(body, receive), _unless_full(send, full))

    return gated


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


async def _body(receive: Receive, headers: dict[str, str], most: int) -> bytes | None:
    """The whole body, or None where it has more bytes."""
    if int(headers.get("content-length", "0") or 0) > most:
        return None
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Receives the body, then what comes after it."""
    left = [body]

    async def received() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return received


def _headed(send: Send) -> Send:
    """Sends with the headers of every answer."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return sent


def _unless_full(send: Send, full: str) -> Send:
    """Sends, but the answer of a full queue is a sentence, with the status "too many requests"."""
    state = {"full": False, "answered": False}

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 503:
            state["full"] = True
        if not state["full"]:
            await send(message)
        elif not state["answered"]:
            state["answered"] = True
            await _refuse(send, 429, full)

    return sent


async def _refuse(send: Send, status: int, sentence: str) -> None:
    """Answers with one sentence."""
    body = json.dumps({"detail": sentence}).encode()
    head = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
