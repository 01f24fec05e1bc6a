"""The page's files over HTTP: types, policy, compression, revalidation, and nothing beside them."""

import gzip
import re
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.types import Message

from bootstrap.pages import POLICY, WEB, page_routes, prepared_files

FIRST_VIEW = 40 * 1024
FILES = prepared_files()
APPLICATION = Starlette(routes=page_routes())
ADDRESSES = sorted(set(FILES) - {"/404.html"})


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=APPLICATION), base_url="http://board.test")


@pytest.mark.parametrize("address", ADDRESSES)
async def test_every_file_has_its_type_and_the_policy(address: str) -> None:
    async with client() as http:
        answer = await http.get(address, headers={"Accept-Encoding": "identity"})
    assert answer.status_code == 200
    assert answer.content == FILES[address].content
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}.get(
        address.rpartition(".")[2], "text/html"
    )
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers


def test_policy_allows_this_origin_only() -> None:
    assert POLICY.startswith(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
    )
    assert "unsafe" not in POLICY
    assert "http" not in POLICY


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip; q=0.001", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
        ("br", False),
        ("", False),
    ],
)
async def test_compressed_for_those_who_take_it(accepted: str, packed: bool) -> None:
    async with client() as http, http.stream("GET", "/", headers={"Accept-Encoding": accepted}) as answer:
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert int(answer.headers["content-length"]) == len(raw)
    assert (gzip.decompress(raw) if packed else raw) == FILES["/"].content


async def test_who_holds_the_bytes_gets_no_body() -> None:
    async with client() as http:
        first = await http.get("/style.css", headers={"Accept-Encoding": "gzip"})
        plain = await http.get("/style.css", headers={"Accept-Encoding": "identity"})
        etag = first.headers["etag"]
        assert etag != plain.headers["etag"]
        for condition in (etag, f'"other", W/{etag}', "*"):
            held = {"Accept-Encoding": "gzip", "If-None-Match": condition}
            again = await http.get("/style.css", headers=held)
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        other = {"Accept-Encoding": "gzip", "If-None-Match": plain.headers["etag"]}
        assert (await http.get("/style.css", headers=other)).status_code == 200


async def test_head_has_the_lengths_and_no_body() -> None:
    async with client() as http:
        got = await http.get("/", headers={"Accept-Encoding": "identity"})
        head = await http.head("/", headers={"Accept-Encoding": "identity"})
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_a_folder_without_its_slash_is_sent_on() -> None:
    async with client() as http:
        answer = await http.get("/model?id=ab")
    assert answer.status_code == 308
    assert answer.headers["location"] == "/model/?id=ab"


async def test_writing_is_refused() -> None:
    async with client() as http:
        assert (await http.post("/", content=b"x")).status_code == 405


async def status_and_body(path: str) -> tuple[int, bytes]:
    """Ask with exactly this path, as a server would hand it on after decoding."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "http_version": "1.1",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await APPLICATION(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


steps = st.sampled_from(["..", ".", "", "js", "model", "pages.py", "index.html", "etc", "\\..", "\0", "%2e%2e"])


@given(st.lists(steps | st.text(st.characters(codec="utf-8"), max_size=8), max_size=6))
async def test_no_path_leads_out_of_the_prepared_files(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    status, body = await status_and_body(path)
    if path in ADDRESSES:
        assert (status, body) == (200, FILES[path].content)
    elif path + "/" in ADDRESSES:
        assert status == 308
    else:
        assert (status, body) == (404, FILES["/404.html"].content)


def imported(address: str, known: set[str]) -> set[str]:
    """All modules that a module brings along, itself included."""
    known.add(address)
    for name in re.findall(r'from "\./([a-z]+\.js)"', FILES[address].content.decode()):
        if f"/js/{name}" not in known:
            imported(f"/js/{name}", known)
    return known


@pytest.mark.parametrize(("page", "script"), [("/", "/js/board.js"), ("/model/", "/js/model.js")])
def test_pages_preload_their_modules_and_stay_small(page: str, script: str) -> None:
    named = set(re.findall(r'(?:href|src)="(/[^"]+\.(?:js|css|svg))"', FILES[page].content.decode()))
    assert named == imported(script, set()) | {"/style.css", "/icon.svg"}
    assert sum(len(FILES[address].compressed) for address in named | {page}) <= FIRST_VIEW


@pytest.mark.parametrize("address", sorted(FILES))
def test_files_name_no_other_host_and_write_no_markup(address: str) -> None:
    text = FILES[address].content.decode()
    hosts = {urlsplit(link).netloc for link in re.findall(r"https?://[^\s\"'<>]+", text)}
    assert hosts <= {"www.w3.org"}  # the name of SVG, which nobody fetches
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|\sstyle=|\son[a-z]+=\""
    assert re.search(forbidden, text) is None


def test_only_files_of_known_kinds_are_prepared() -> None:
    on_disk = {path for path in WEB.rglob("*") if path.is_file()}
    assert len(FILES) == len(on_disk)
