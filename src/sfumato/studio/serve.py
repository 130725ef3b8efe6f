"""Running the page on this machine: no call to the outside, nothing kept, stopped by Ctrl+C."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final

from sfumato.errors import UsageError, reason, require
from sfumato.studio.gate import App, gate
from sfumato.studio.limits import Limits
from sfumato.studio.tab import Tab

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")

# What the package reads when it is imported: it is to ask nobody and to tell nobody anything.
_QUIET: Final = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_SHARE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def gradio() -> Any:
    """gradio, imported with its telemetry and network features turned off.

    Raises:
        MissingExtra: it is not installed.
    """
    os.environ.update(_QUIET)
    if "gradio" not in sys.modules:  # where it would keep files, if it were given any
        folder = tempfile.TemporaryDirectory(prefix="sfumato-studio-")
        atexit.register(folder.cleanup)
        os.environ["GRADIO_TEMP_DIR"] = folder.name
    found = require("gradio", "studio")
    warnings.filterwarnings("ignore", module=r"gradio\.")  # of its use of other packages
    return found


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address; port 0 takes a free one.

    Raises:
        UsageError: it cannot be bound.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host} port {port} ({reason(error)}); choose another "
            "by --port, or another --host"
        ) from error


def page(tabs: Sequence[Tab], limits: Limits) -> Any:
    """The tabs as gradio's Blocks, with the queue; a single tab is the whole page."""
    gr = require("gradio", "studio")
    with gr.Blocks(title="sfumato studio", analytics_enabled=False) as blocks:
        if len(tabs) == 1:
            tabs[0].build(limits)
        else:
            with gr.Tabs():
                for tab in tabs:
                    with gr.Tab(tab.title):
                        tab.build(limits)
    return blocks.queue(
        max_size=limits.queue, default_concurrency_limit=1, api_open=False, status_update_rate=1
    )


def application(tabs: Sequence[Tab], limits: Limits, host: str) -> App:
    """The page as an ASGI application, behind its gate.

    Args:
        tabs: one or more, with different endpoints.
        limits: of what may be asked.
        host: that it will listen on.

    Raises:
        MissingExtra: gradio is not installed.
    """
    gr = gradio()
    fastapi: Any = require("fastapi", "studio")
    sheet = (files(__package__) / "page.css").read_text(encoding="utf-8")
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        outer,
        page(tabs, limits),
        path="/",
        server_name=host,
        allowed_paths=[],
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        footer_links=[],
        css="".join([sheet, *(tab.css for tab in tabs)]),
        theme=gr.themes.Default(
            primary_hue="slate",
            font=("system-ui", "sans-serif"),
            font_mono=("ui-monospace", "monospace"),
        ),
    )
    endpoints = [tab.endpoint for tab in tabs]
    return gate(outer, limits, LOOPBACK if loopback(host) else (), endpoints)


def serve(
    tabs: Sequence[Tab],
    limits: Limits,
    place: socket.socket,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Run the page until it is interrupted.

    Args:
        tabs, limits: as in `application`.
        place: a bound socket, see `listening`.
        ready: called with the address.

    Raises:
        MissingExtra: gradio is not installed.
    """
    uvicorn: Any = require("uvicorn", "studio")
    host, port = place.getsockname()[:2]
    app = application(tabs, limits, host)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{port}")
    uvicorn.Server(config).run(sockets=[place])
