"""The application: routes, guard, and what each error becomes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from densedpo.annotate import dashboard, lead, pages, routes
from densedpo.annotate.guideline import read_guideline
from densedpo.annotate.labelling import Labelling
from densedpo.annotate.security import Guard
from densedpo.annotate.session import admitted, person_alone, whoever
from densedpo.annotate.settings import AnnotateSettings
from densedpo.annotate.tasks import RefusedError
from densedpo.annotate.turns import Turns
from densedpo.errors import UserError
from densedpo.store.gold import add_gold, read_gold
from densedpo.store.project import Project

log = logging.getLogger(__name__)


def create_app(project: Project, settings: AnnotateSettings) -> FastAPI:
    """The annotation application on a project. The gold answers that the settings name are taken in.

    Raises UserError if the settings would let strangers in, or name a file that cannot be used.
    """
    settings.check_host()
    if settings.gold is not None:
        add_gold(project, read_gold(project, settings.gold))
    app = FastAPI(title="densedpo annotate", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.labelling = Labelling(project, settings)
    app.state.turns = Turns(app.state.labelling)
    app.state.guideline = read_guideline(settings.guideline)
    app.state.desk = dashboard.Desk(app.state.labelling)
    app.state.alone = None if settings.tokens else person_alone(project)
    for router in (routes.router, pages.router, lead.router, dashboard.router):
        app.include_router(router)
    app.mount("/static", _Static(directory=pages.HERE / "static"))
    app.add_middleware(Guard, local_only=not settings.tokens)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(UserError, _our_trouble)
    app.add_exception_handler(RequestValidationError, _malformed)
    return app


class _Static(StaticFiles):
    """Style and scripts; browsers ask whether they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RefusedError)
    return JSONResponse({"error": str(error)}, status_code=error.status)


def _our_trouble(request: Request, error: Exception) -> JSONResponse:
    """A full disk, a locked database: for whoever runs the server to read, not for the page (it names paths)."""
    log.error("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"error": "the server cannot do this now; tell your lead"}, status_code=503)


def _malformed(request: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, told to those who may make one."""
    assert isinstance(error, RequestValidationError)
    try:
        admitted(whoever(request))
    except RefusedError as refusal:
        return _refused(request, refusal)
    where = [".".join(str(part) for part in each["loc"]) for each in error.errors()]
    return JSONResponse({"error": f"malformed: {', '.join(where)}"}, status_code=422)
