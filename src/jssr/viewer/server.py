"""The viewer's server: the pages, one result's volumes, and alignments of scans that the browser sends.

It binds to this machine's loopback and answers no page of another origin: the Host header must be a name of this
machine (a foreign name that resolves here is refused), and what changes something must come from our own pages. Files
are served from the result's folder and the package's own pages alone.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from jssr.errors import JssrError
from jssr.viewer.jobs import Busy, Job, Jobs
from jssr.viewer.options import FIELDS, files_of, options_of
from jssr.viewer.uploads import MAX_FILES, keep_scan
from jssr.viewer.volumes import Scans, phases_of

STATIC = Path(__file__).parent / "static"
COOKIE = "jssr-view"
HOSTS = ["127.0.0.1", "localhost"]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; font-src 'self' data:; worker-src blob:; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Viewer:
    """The state of the server: a folder of a result, or None; `space`, the folder for what the browser sends and what
    is made of it; and `most_bytes` of one upload."""

    def __init__(self, result: Path | None, space: Path, most_bytes: int) -> None:
        self.space, self.most_bytes = space, most_bytes
        self.jobs = Jobs()
        self.results: dict[str, Path] = {} if result is None else {"given": result}
        self.scans = lru_cache(maxsize=2)(self._scans)

    def folder(self, key: str) -> Path:
        """The folder of a result: the given one, or that of a job that is done."""
        job = self.jobs.known.get(key)
        if job is not None and job.state == "done":
            return job.result
        if key not in self.results:
            raise HTTPException(404, "no such result")
        return self.results[key]

    def _scans(self, key: str, phase: str) -> Scans:
        folder = self.folder(key)
        if phase not in phases_of(folder):
            raise HTTPException(404, "no such phase")
        return Scans(folder / phase if phase else folder, phase)


def create_app(
    result: Path | None,
    space: Path,
    most_bytes: int = 4 * 2**30,
    token: str = "",
    on_close: Callable[[], None] | None = None,
) -> Starlette:
    """The application. A `result` that is no folder of one is refused.

    Args:
        result: folder that `register` or `align` wrote; None shows the page for two scans.
        space: an existing folder for uploads and their results.
        most_bytes: that one upload may have.
        token: a browser must have it, by `/?token=` once and then by its cookie; others on this machine do not.
        on_close: called when the server stops, after the last alignment.
    """
    if result is not None:
        phases_of(result)
    viewer = Viewer(result, space, most_bytes)

    @asynccontextmanager
    async def life(_: Starlette) -> Any:
        yield
        await run_in_threadpool(viewer.jobs.close)
        if on_close is not None:
            on_close()

    routes = [
        Route("/", partial(_home, viewer)),
        Route("/new", partial(_page, "new.html")),
        Route("/view/{key}", partial(_page, "view.html")),
        Route("/api/results/{key}", partial(_result, viewer)),
        Route("/api/results/{key}/volumes/{name}", partial(_volume, viewer)),
        Route("/api/results/{key}/files/{path:path}", partial(_file, viewer)),
        Route("/api/jobs", partial(_add, viewer), methods=["POST"]),
        Route("/api/jobs/{key}", partial(_job, viewer), methods=["GET", "DELETE"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS),
        Middleware(BaseHTTPMiddleware, dispatch=partial(_guard, token)),
    ]
    return Starlette(routes=routes, middleware=middleware, lifespan=life, exception_handlers={
        JssrError: _refused, HTTPException: _wrong, Exception: _wrong,
    })  # fmt: skip


async def _guard(token: str, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Changes come from our own pages only; no answer may be framed, sniffed or sent elsewhere."""
    if token and not _knows(request, token):
        return JSONResponse({"error": "open the address that jssr view printed"}, 403)
    if token and request.url.path == "/" and "token" in request.query_params:
        home = RedirectResponse("/")
        home.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return home
    origin = request.headers.get("origin")
    if request.method not in ("GET", "HEAD") and (origin is None or urlsplit(origin).netloc != request.headers["host"]):
        return JSONResponse({"error": "asked for by another page"}, 403)
    response = await go_on(request)
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers.update(HEADERS)
    return response


def _knows(request: Request, token: str) -> bool:
    """Whether a request has the token."""
    given = request.cookies.get(COOKIE) or (request.query_params.get("token", "") if request.url.path == "/" else "")
    return secrets.compare_digest(given.encode(), token.encode())


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 409 if isinstance(error, Busy) else 400)


async def _wrong(_: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "internal error")
    return JSONResponse({"error": detail}, status)


async def _page(name: str, _: Request) -> Response:
    return FileResponse(STATIC / name)


async def _home(viewer: Viewer, _: Request) -> Response:
    return RedirectResponse("/view/given" if "given" in viewer.results else "/new")


async def _result(viewer: Viewer, request: Request) -> Response:
    key = request.path_params["key"]
    phases = phases_of(viewer.folder(key))
    phase = request.query_params.get("phase", phases[0])
    scans = await run_in_threadpool(viewer.scans, key, phase)
    report = (viewer.folder(key) / "report.html").is_file()
    return JSONResponse({"phases": phases, "phase": phase, "report": report, **scans.describe()})


async def _volume(viewer: Viewer, request: Request) -> Response:
    key, name = request.path_params["key"], request.path_params["name"]
    scans = await run_in_threadpool(viewer.scans, key, request.query_params.get("phase", ""))
    try:
        content = await run_in_threadpool(scans.bytes_of, name)
    except KeyError:
        raise HTTPException(404, "no such volume") from None
    return Response(content, media_type="application/octet-stream")


async def _file(viewer: Viewer, request: Request) -> Response:
    """A file of the result's folder; links that lead out of it are refused."""
    folder = viewer.folder(request.path_params["key"]).resolve()
    try:
        path = (folder / request.path_params["path"]).resolve()
        inside = path.is_relative_to(folder) and path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        inside = False
    if not inside:
        raise HTTPException(404, "no such file")
    # A result may come from someone else: its pages may show pictures and styles of their own, but run nothing.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'"
    return FileResponse(path, headers={"Content-Security-Policy": policy})


async def _add(viewer: Viewer, request: Request) -> Response:
    """Two scans and how to align them, as a form: fixed, moving and what else `jssr.viewer.options` knows."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, "an upload needs a content-length")
    if int(length) > viewer.most_bytes:
        most = viewer.most_bytes / 2**30
        raise HTTPException(413, f"the scans are larger than {most:.3g} GiB together (jssr view --most-gb raises that)")
    viewer.jobs.check()
    folder = Path(tempfile.mkdtemp(dir=viewer.space))
    try:
        async with request.form(max_files=MAX_FILES, max_fields=FIELDS) as form:
            options = options_of(form)
            scans = [await keep_scan([f for f in form.getlist(n) if not isinstance(f, str)], folder, n)
                     for n in ("fixed", "moving")]  # fmt: skip
            options |= await files_of(form, folder)
        job = Job(folder, scans[0], scans[1], options)
        viewer.jobs.add(job)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return JSONResponse(job.as_data(), 201)


async def _job(viewer: Viewer, request: Request) -> Response:
    job = viewer.jobs.known.get(request.path_params["key"])
    if job is None:
        raise HTTPException(404, "no such alignment")
    if request.method == "DELETE":
        await run_in_threadpool(viewer.jobs.cancel, job)
    return JSONResponse(job.as_data())
