"""The public files over HTTP: what there can be is served, and no request reaches beyond the folder."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.routing import Match

from bootstrap.publication import _may_be, public_routes

PARTS = st.sampled_from(
    ["tile", "snapshot", "..", ".", "", "0", "12", "000", "x001", "entries", "000.p", "7", "a.json"]
)


async def answer(folder: Path, path: str) -> tuple[int, bytes, str]:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "server": ("a", 1)}
    for route in public_routes(folder):
        if route.matches(scope)[0] is Match.FULL:
            response = await route.endpoint(Request(scope))
            return response.status_code, bytes(response.body), response.headers.get("cache-control", "")
    return 404, b"", ""


async def test_files_are_served_as_they_lie(tmp_path: Path) -> None:
    for name in (
        "checkpoint",
        "snapshot.cbor",
        "tile/0/000.p/7",
        "tile/entries/x001/067",
        "snapshot/12/leaderboard.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
        status, body, caching = await answer(tmp_path, f"/{name}")
        assert (status, body) == (200, name.encode())
        assert ("immutable" in caching) == name.startswith("tile/")


@pytest.mark.parametrize(
    "path", ["/tile/../secret", "/snapshot/1/../secret", "/snapshot/1/.json", "/tile/0/000", "/other"]
)
async def test_nothing_else_is(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    status, body, _ = await answer(tmp_path, path)
    assert status == 404
    assert b"secret" not in body


@given(st.lists(PARTS, min_size=1, max_size=6).map("/".join) | st.text(max_size=40))
def test_no_name_leads_out_of_the_folder(path: str) -> None:
    parts = path.split("/")
    if parts[0] == "snapshot" and len(parts) != 3:
        return  # no route has it
    if _may_be(path):
        assert ".." not in PurePosixPath(path).parts
        assert not path.startswith("/")
