"""A stand-in for the Hub's HTTP API on loopback: enough of it to drive the unmodified client libraries.

Repositories live in memory and are changed by their methods; what goes wrong is said beforehand with `disturb`. Two
servers listen, as in reality: the Hub, which knows names and commits, and a CDN at another origin, which knows hashes
and must never see a token. Everything asked of either is in `asked`.

    with HubStandIn() as hub:
        repository = hub.model("some/model")
        repository.add("model.gguf", data, large=True)
        hub.disturb("model.gguf", cut_after(1000))       # the next body breaks off
        ... HF_ENDPOINT=hub.url ...

Status codes, headers and error codes follow what `huggingface_hub` 2.4 evaluates.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

MOMENT = "2026-01-01T00:00:00.000Z"
KINDS = ("models", "datasets")


@dataclass(frozen=True)
class Answer:
    """What a server sends; `cut` is where the connection ends too early, `stall` whether it stays open and silent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    stall: bool = False


Disturbance = Callable[[Answer], Answer]


def refused(status: int, **headers: str) -> Disturbance:
    """The server refuses; `retry_after="3"` becomes the header `Retry-After: 3`."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return lambda _: Answer(status, named)


def cut_after(count: int) -> Disturbance:
    """The connection closes after `count` bytes of the body."""
    return lambda answer: replace(answer, cut=count)


def stalled_after(count: int) -> Disturbance:
    """After `count` bytes of the body nothing comes any more, until the stand-in closes."""
    return lambda answer: replace(answer, cut=count, stall=True)


def corrupted(answer: Answer) -> Answer:
    """One bit of the body is wrong."""
    middle = len(answer.body) // 2
    return replace(answer, body=answer.body[:middle] + bytes([answer.body[middle] ^ 1]) + answer.body[middle + 1 :])


@dataclass(frozen=True)
class Asked:
    """A request: `server` is "hub" or "cdn", `range` the header's value, `token` the bearer token."""

    server: str
    method: str
    path: str
    range: str | None
    token: str | None
    status: int


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit; large ones are in LFS and come from the CDN."""

    data: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def blob(self) -> str:
        """Git's name for the content."""
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()


@dataclass
class Repository:
    """One repository at one commit; `readers` are the tokens that may read it, None for everybody."""

    kind: str
    name: str
    commit: str
    files: dict[str, StoredFile] = field(default_factory=dict)
    readers: set[str] | None = None
    gated: bool = False

    def add(self, path: str, data: bytes, *, large: bool = False) -> None:
        self.files[path] = StoredFile(data, large)

    def entry(self, path: str) -> dict[str, Any]:
        """A file as the tree listing shows it."""
        stored = self.files[path]
        lfs = {"oid": stored.sha256, "size": len(stored.data), "pointerSize": 134}
        entry = {"type": "file", "path": path, "oid": stored.blob, "size": len(stored.data)}
        return entry | ({"lfs": lfs} if stored.large else {})

    def info(self, *, blobs: bool) -> dict[str, Any]:
        """The repository as its API page shows it."""
        siblings = []
        for path in sorted(self.files):
            stored = self.files[path]
            sibling: dict[str, Any] = {"rfilename": path}
            if blobs:
                sibling |= {"size": len(stored.data), "blobId": stored.blob}
                if stored.large:
                    sibling["lfs"] = {"sha256": stored.sha256, "size": len(stored.data), "pointerSize": 134}
            siblings.append(sibling)
        return {
            "id": self.name,
            "sha": self.commit,
            "private": self.readers is not None and not self.gated,
            "gated": "manual" if self.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "lastModified": MOMENT,
            "createdAt": MOMENT,
            "siblings": siblings,
        }


class HubStandIn:
    """Two servers on loopback; a context manager."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.tokens: set[str] = set()
        self._repositories: dict[tuple[str, str], Repository] = {}
        self._disturbances: list[list[Any]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._servers = [_server(name, self._answer, self._closing) for name in ("hub", "cdn")]

    def __enter__(self) -> "HubStandIn":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    @property
    def url(self) -> str:
        """For `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self._servers[0].server_address[1]}"

    @property
    def cdn_url(self) -> str:
        """Where large files lie."""
        return f"http://127.0.0.1:{self._servers[1].server_address[1]}"

    def model(self, name: str, commit: str = "c" * 40) -> Repository:
        """A new repository of a model."""
        return self._repositories.setdefault(("models", name), Repository("models", name, commit))

    def dataset(self, name: str, commit: str = "d" * 40) -> Repository:
        """A new repository of a data set."""
        return self._repositories.setdefault(("datasets", name), Repository("datasets", name, commit))

    def disturb(
        self, where: str, how: Disturbance, *, times: int = 1, method: str = "GET", server: str | None = None
    ) -> None:
        """The next `times` answers to `method` on a path that contains `where` are changed by `how`.

        A file is asked for on the Hub, which redirects, and then elsewhere: `server` says which of both is meant; by
        default the answer that carries a body.
        """
        with self._lock:
            self._disturbances.append([times, where, method, server, how])

    def requests(self, part: str = "", method: str | None = None) -> list[Asked]:
        """What was asked for, in its order."""
        return [item for item in self.asked if part in item.path and method in (None, item.method)]

    def _answer(self, server: str, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        parsed = urllib.parse.urlsplit(target)
        path, query = urllib.parse.unquote(parsed.path), urllib.parse.parse_qs(parsed.query)
        token = headers.get("authorization", "").removeprefix("Bearer ") or None
        asked_range = headers.get("range")
        with self._lock:
            if server == "cdn":
                answer = self._cdn(query.get("hash", [""])[0])
            else:
                answer = self._hub(method, path, query, token, body)
            answer = _ranged(answer, asked_range)
            answer = self._disturbed(answer, server, method, path)
            self.asked.append(Asked(server, method, path, asked_range, token, answer.status))
        return answer

    def _disturbed(self, answer: Answer, server: str, method: str, path: str) -> Answer:
        for item in self._disturbances:
            times, where, of_method, of_server, how = item
            meant = server == of_server if of_server else not 300 <= answer.status < 400 or method == "HEAD"
            if times and where in path and method == of_method and meant:
                item[0] -= 1
                changed: Answer = how(answer)
                return changed
        return answer

    def _cdn(self, wanted: str) -> Answer:
        for repository in self._repositories.values():
            for stored in repository.files.values():
                if stored.large and stored.sha256 == wanted:
                    return Answer(200, {"ETag": f'"{wanted}"', "Accept-Ranges": "bytes"}, stored.data)
        return Answer(HTTPStatus.FORBIDDEN)

    def _hub(self, method: str, path: str, query: dict[str, list[str]], token: str | None, body: bytes) -> Answer:
        if token is not None and token not in self.tokens:
            return _error(401, "", "Invalid credentials in Authorization header")
        parts = path.strip("/").split("/")
        if parts == ["api", "agent-harnesses"]:
            return _json({"standardEnvVars": ["AGENT"], "harnesses": {}})
        if parts[:2] == ["api", "resolve-cache"]:
            return self._small(parts[2], "/".join(parts[3:5]), parts[5], "/".join(parts[6:]))
        if parts[0] == "api" and len(parts) >= 4 and parts[1] in KINDS:
            kind, name, rest = parts[1], "/".join(parts[2:4]), parts[4:]
        elif "resolve" in parts:
            kind = parts[0] if parts[0] in KINDS else "models"
            at = parts.index("resolve")
            name, rest = "/".join(parts[at - 2 : at]), parts[at:]
        else:
            return _error(404, "", "Not Found")
        repository = self._repositories.get((kind, name))
        denied = _denied(repository, token)
        if denied or repository is None:
            return denied or _error(404, "RepoNotFound", "Repository not found")
        if len(rest) > 1 and rest[1] not in ("main", repository.commit):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {rest[1]}")
        return _of_repository(repository, self.cdn_url, method, rest, query, body)

    def _small(self, kind: str, name: str, commit: str, path: str) -> Answer:
        stored = self._repositories[(kind, name)].files[path]
        headers = {"ETag": f'"{stored.blob}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        return Answer(200, headers, stored.data)


def _denied(repository: Repository | None, token: str | None) -> Answer | None:
    """The Hub's words for who may not read: it does not tell strangers what exists."""
    if repository is None:
        return _error(404, "RepoNotFound", "Repository not found") if token else _unknown()
    if repository.readers is None or token in repository.readers:
        return None
    if repository.gated:
        return _error(403 if token else 401, "GatedRepo", f"Access to {repository.name} is restricted.")
    return _error(404, "RepoNotFound", "Repository not found") if token else _unknown()


def _unknown() -> Answer:
    return _error(401, "RepoNotFound", "Invalid username or password.")


def _of_repository(
    repository: Repository, cdn: str, method: str, rest: list[str], query: dict[str, list[str]], body: bytes
) -> Answer:
    what, path = (rest[0] if rest else "revision"), "/".join(rest[2:])
    if what == "revision":
        return _json(repository.info(blobs="blobs" in query))
    if what == "tree":
        inside = [name for name in sorted(repository.files) if not path or name.startswith(f"{path}/")]
        if path and not inside:
            return _error(404, "EntryNotFound", f"{path} does not exist")
        return _json(_tree(repository, path, inside, recursive=query.get("recursive", [""])[0].lower() == "true"))
    if what == "paths-info" and method == "POST":
        form = json.loads(body) if body[:1] == b"{" else urllib.parse.parse_qs(body.decode())
        return _json([repository.entry(name) for name in form.get("paths", []) if name in repository.files])
    if what == "resolve":
        return _resolved(repository, cdn, path)
    return _error(404, "", "Not Found")


def _tree(repository: Repository, path: str, inside: list[str], *, recursive: bool) -> list[dict[str, Any]]:
    start = len(path) + 1 if path else 0
    folders = {name[:start] + name[start:].split("/")[0] for name in inside if "/" in name[start:]}
    listed: list[dict[str, Any]] = [
        {"type": "directory", "path": folder, "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0}
        for folder in sorted(folders)
    ]
    return listed + [repository.entry(name) for name in inside if recursive or "/" not in name[start:]]


def _resolved(repository: Repository, cdn: str, path: str) -> Answer:
    stored = repository.files.get(path)
    headers = {"X-Repo-Commit": repository.commit}
    if stored is None:
        missing = _error(404, "EntryNotFound", "Entry not found")
        return replace(missing, headers=missing.headers | headers)
    headers |= {"X-Linked-Size": str(len(stored.data))}
    if stored.large:
        place = f"{cdn}/repos/{stored.sha256[:2]}/{urllib.parse.quote(path)}?hash={stored.sha256}"
        return Answer(302, headers | {"Location": place, "X-Linked-ETag": f'"{stored.sha256}"'})
    place = f"/api/resolve-cache/{repository.kind}/{repository.name}/{repository.commit}/{urllib.parse.quote(path)}"
    return Answer(307, headers | {"Location": place, "X-Linked-ETag": f'"{stored.blob}"'})


def _ranged(answer: Answer, wanted: str | None) -> Answer:
    """The part of the body that was asked for (RFC 9110, section 14), one range only."""
    if wanted is None or answer.status != 200 or "Accept-Ranges" not in answer.headers:
        return answer
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    size = len(answer.body)
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size:
        return Answer(416, {"Content-Range": f"bytes */{size}"})
    headers = answer.headers | {"Content-Range": f"bytes {start}-{end}/{size}"}
    return Answer(206, headers, answer.body[start : end + 1])


def _json(value: Any) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _error(status: int, code: str, message: str) -> Answer:
    headers = {"X-Error-Message": message, "Content-Type": "application/json"}
    return Answer(status, headers | ({"X-Error-Code": code} if code else {}), json.dumps({"error": message}).encode())


def _server(
    name: str, answer: Callable[[str, str, str, dict[str, str], bytes], Answer], closing: threading.Event
) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            given = answer(name, self.command, self.path, headers, body)
            self.send_response(given.status)
            for key, value in ({"Content-Length": str(len(given.body))} | given.headers).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                self.wfile.write(given.body[: given.cut])
                self.wfile.flush()
            except OSError:  # the client has heard enough
                self.close_connection = True
            if given.cut is not None:
                self.close_connection = True
                if given.stall:
                    closing.wait()

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815  the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Nothing: `asked` has it."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
