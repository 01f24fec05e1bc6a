"""Requests to the control API, with limits on time and size, and every failure as one of three exceptions."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import httpx

from tui.answers import AnswerError, Body, Caution, decode_answer, decode_event, error_sentence
from tui.link import Trouble
from tui.stream import EventReader, StreamError

PORT_MOST = 65_535
BODY_MOST = 32 * 2**20
ANSWER_WITHIN = 5.0
"""Seconds for a whole answer, or until a stream begins."""

Answer = TypeVar("Answer")


class LostError(Exception):
    """There is no connection, or what is at its other end cannot be understood."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(detail)
        self.trouble = trouble
        self.detail = detail


class DeniedError(Exception):
    """The daemon understood and says no. The sentence is its own."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Wire:
    """One address with its token. `transport` takes the place of the network."""

    def __init__(self, url: str, token: str | None, transport: httpx.AsyncBaseTransport | None) -> None:
        self.client = httpx.AsyncClient(
            base_url=_address(url),
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            transport=transport,
            timeout=None,  # noqa: S113  (each request is limited below, by the loop's clock)
            trust_env=False,
        )

    async def ask(self, path: str, kind: type[Answer], *, method: str = "GET") -> tuple[Answer, tuple[Caution, ...]]:
        """`data` of the answer to one request, and the warnings beside it."""
        with _translated():
            async with asyncio.timeout(ANSWER_WITHIN), self.client.stream(method, path) as response:
                body = await _body(response)
        if response.status_code in (401, 403):
            raise LostError(Trouble.REFUSED, error_sentence(body) or "")
        if not response.is_success:
            raise DeniedError(error_sentence(body) or f"{path} answered with HTTP status {response.status_code}")
        try:
            return decode_answer(body, kind)
        except AnswerError as error:
            raise LostError(Trouble.STRANGE, f"{path}: {error}") from error

    @asynccontextmanager
    async def events(self) -> AsyncGenerator["Events"]:
        """The event stream, once it has begun."""
        request = self.client.build_request("GET", "/v1/events", headers={"Accept": "text/event-stream"})
        with _translated():
            async with asyncio.timeout(ANSWER_WITHIN):
                response = await self.client.send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                with _translated():
                    async with asyncio.timeout(ANSWER_WITHIN):
                        body = await _body(response)
                trouble = Trouble.REFUSED if response.status_code in (401, 403) else Trouble.STRANGE
                plain_status = "" if trouble is Trouble.REFUSED else f"HTTP status {response.status_code}"
                raise LostError(trouble, error_sentence(body) or plain_status)
            yield _events(response)
        finally:
            await response.aclose()


Events = AsyncIterator[tuple[int | None, Body] | None]
"""Number and content of each event; nothing for a sign of life."""


async def _events(response: httpx.Response) -> Events:
    reader = EventReader()
    try:
        async for piece in response.aiter_bytes():
            for frame in reader.feed(piece):
                yield decode_event(frame.kind, frame.data) if frame.data else None
    except (httpx.TransportError, OSError) as error:
        raise LostError(Trouble.ENDED) from error
    except (httpx.DecodingError, StreamError, AnswerError) as error:
        raise LostError(Trouble.STRANGE, str(error)) from error
    raise LostError(Trouble.ENDED)


async def _body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > BODY_MOST:
            raise LostError(Trouble.STRANGE, "an answer is too long")
    return bytes(body)


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise LostError(Trouble.STRANGE, f"{url} is no address: {error}") from error
    if address.scheme not in ("http", "https") or not address.host or (address.port or 1) > PORT_MOST:
        raise LostError(Trouble.STRANGE, f"{url} is no address like http://127.0.0.1:4800")
    return address


@contextmanager
def _translated() -> Generator[None]:
    """Failures of the transport become `LostError`."""
    try:
        yield
    except TimeoutError as error:
        raise LostError(Trouble.SILENT) from error
    except httpx.ConnectError as error:
        raise LostError(Trouble.NOT_RUNNING) from error
    except (httpx.UnsupportedProtocol, httpx.DecodingError) as error:
        raise LostError(Trouble.STRANGE, str(error)) from error
    except (httpx.TransportError, OSError) as error:
        raise LostError(Trouble.ENDED) from error
