"""`jssr view`: results in the browser."""

from __future__ import annotations

import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jssr.cli.options import Options, arg, command, opt
from jssr.cli.session import Session


@dataclass(frozen=True, kw_only=True)
class ViewOptions(Options):
    result: Path | None = arg("Folder that register or align wrote; none: align two scans.", None, metavar="OUT")
    port: int = opt(0, "0 takes any that is free.", min=0, max=65535)
    browser: bool = opt(True, "Open the page.")
    keep: Path | None = opt(None, "Folder for alignments made in the browser; else they end with it.")
    most_gb: float = opt(4.0, "The most that two scans may have.", min=0.001)


@command
def view(options: ViewOptions, session: Session) -> None:
    """Show a result in the browser, on this machine alone; from there two scans can be aligned as well.

    Example: jssr view aligned
    """
    import secrets
    import socket
    import webbrowser

    from jssr.errors import JssrError, requires

    requires("viewer", "uvicorn")
    import uvicorn

    from jssr.io.files import make_folder
    from jssr.viewer.server import STATIC, create_app

    if not (STATIC / "vendor" / "niivue.umd.js").is_file():
        raise JssrError(
            "this installation lacks NiiVue, which the viewer draws with; install npm and build it: make vendor"
        )
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except OSError as error:
        raise JssrError(
            f"port {options.port}: {(error.strerror or str(error)).lower()}; choose another, or 0 for any"
        ) from error
    with tempfile.TemporaryDirectory(prefix="jssr-view-") as temporary, listener:
        space = make_folder(options.keep) if options.keep is not None else Path(temporary)
        token = secrets.token_urlsafe(16)
        # The server ends a stopped process by the signal itself, so that nothing after it here is sure to run.
        app = create_app(
            options.result, space, int(options.most_gb * 2**30), token, lambda: shutil.rmtree(temporary, True)
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={token}"
        if hasattr(signal, "SIGHUP"):  # the terminal was closed
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        session.finish({"address": address}, f"{address} (stop with Ctrl-C)")
        if options.browser:
            webbrowser.open(address)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)).run(sockets=[listener])
