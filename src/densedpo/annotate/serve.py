"""Run the application until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from densedpo.annotate.app import create_app
from densedpo.annotate.session import lead_link
from densedpo.annotate.settings import AnnotateSettings
from densedpo.errors import UserError
from densedpo.store.project import Project

KEEP_SECONDS = 75  # for which a page's connection stays open: longer than people look at one segment


def serve(project: Project, settings: AnnotateSettings, announce: Callable[[str, str | None], None]) -> None:
    """Serve until Ctrl-C. `announce` is told the address and, with tokens, a lead's link, before the first request.

    Raises UserError if the settings would let strangers in, there is nothing to label, or the port is taken.
    """
    with project.keeping_connections() as kept:
        _serve(kept, settings, announce)


def _serve(project: Project, settings: AnnotateSettings, announce: Callable[[str, str | None], None]) -> None:
    app = create_app(project, settings)
    if next(project.pairs(settings.split), None) is None:
        raise UserError(f"{project.root} has no pairs to label; make some with `densedpo pairs`")
    listening = _listen(settings)
    port = listening.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    link = lead_link(project, settings)
    announce(f"http://{host}:{port}", link and f"http://{host}:{port}{link}")
    with listening:
        quiet = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_SECONDS,
        )
        server = uvicorn.Server(quiet)
        server.run(sockets=[listening])


def _listen(settings: AnnotateSettings) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # so that whoever is told the address can connect at once
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot listen on {settings.host} port {settings.port}: {reason}; choose another") from None
    return listening
