"""What every daemon process does around its services: its home's lock, its log file, its control API, its end."""

import fcntl
import gc
import json
import logging
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import hypercorn
import structlog
import trio
from hypercorn.trio import serve
from starlette.applications import Starlette

from node.home import Home

LOG_BYTES = 8 * 1024 * 1024
TOKEN_BYTES = 24


class HomeInUse(Exception):
    """Another process runs on this home; the text says which."""


@contextmanager
def hold(home: Home) -> Iterator[None]:
    """Hold the home's lock: one process signs with its keys. Raises `HomeInUse`."""
    home.folder.mkdir(parents=True, exist_ok=True)
    with home.lock.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            pid = stream.read().strip() or "unknown"
            raise HomeInUse(
                f"Process {pid} runs on {home.folder} already. Stop it first, or choose another home."
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Keep the garbage collector off what is loaded by now, and off everything at the end.

    Before it ends the interpreter looks through all modules for garbage: a third of a second on a free core, several
    seconds on a busy one, of the five in which a daemon stops.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.freeze()


def log_to(file: Path) -> None:
    """Write what the program and its libraries say to a file, one JSON object a line; start anew at 8 MiB."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".old"))
    logging.raiseExceptions = False  # a full disk must not fill standard error instead
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("peerboard").setLevel(logging.INFO)
    logging.getLogger("node").setLevel(logging.INFO)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def new_token(home: Home) -> str:
    """A fresh control token in the home, for its owner's eyes only."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    home.control_token.unlink(missing_ok=True)
    descriptor = os.open(home.control_token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(token)
    return token


@asynccontextmanager
async def serving(app: Starlette, binds: Sequence[str]) -> AsyncIterator[str]:
    """Serve an app on `host:port` addresses (port 0: any free one); its first URL. Raises `OSError` if it is taken."""
    config = hypercorn.Config()
    config.bind = list(binds)
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = 0.5
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(serve, app, config)
        yield urls[0]
        nursery.cancel_scope.cancel()


@contextmanager
def announced(home: Home, role: str, url: str, web: str | None = None) -> Iterator[None]:
    """Tell the home's tools where the control API (and the public page) listens, for as long as it does."""
    content = {"url": url, "token_file": str(home.control_token), "pid": os.getpid(), "role": role, "web": web}
    draft = home.control.with_suffix(".new")
    draft.write_text(json.dumps(content) + "\n")
    draft.replace(home.control)
    try:
        yield
    finally:
        home.control.unlink(missing_ok=True)


async def stop_on_signals(stop: trio.Event) -> None:
    """Set `stop` on the first SIGINT or SIGTERM; a second one ends the process at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.is_set():
                os._exit(128 + number)
            stop.set()
