"""What the Hub does not have or give, and what this device has no room for: whose fault it is, and what to do."""

from pathlib import Path

import msgspec
import pytest

from eval.artefacts import Resolver
from eval.cache import Cache
from eval.hub import Place, announced
from protocol.definitions import HubFile
from protocol.failures import Failure
from tests.eval.pinned_files import COMMIT, DATA, MIB, failure, pinned
from tests.hub.stand_in import HubStandIn, Repository, refused

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (pinned("none.gguf"), "the commit has no such file"),
        (pinned(commit="a" * 40), "there is no such commit"),
        (msgspec.structs.replace(pinned(), repository="some/other"), "no such repository, or it is private"),
    ],
)
@pytest.mark.parametrize("token", [None, "hf_known"])
def test_what_is_not_there(
    repository: Repository,
    hub: HubStandIn,
    cache: Cache,
    monkeypatch: pytest.MonkeyPatch,
    file: HubFile,
    words: str,
    token: str | None,
) -> None:
    if token:
        hub.tokens.add(token)
        monkeypatch.setenv("HF_TOKEN", token)
    error = failure(cache, file)
    assert (error.failure, error.passing) == (Failure.FILE_MISSING, None)
    assert words in error.detail


@pytest.mark.parametrize("gated", [True, False])
def test_gated_and_private_repositories_want_a_token_with_access(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch, gated: bool
) -> None:
    hub.tokens |= {"hf_reader", "hf_stranger"}
    repository.readers, repository.gated = {"hf_reader"}, gated
    error = failure(cache, pinned())
    assert error.failure is Failure.FILE_MISSING
    assert ("set HF_TOKEN" if gated else "private") in error.detail
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    assert failure(cache, pinned()).failure is Failure.FILE_MISSING
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert Resolver(cache=cache).resolve(pinned()).read_bytes() == DATA
    seen_by = {(item.server, item.token) for item in hub.asked}
    assert ("hub", "hf_reader") in seen_by
    assert {token for server, token in seen_by if server == "cdn"} == {None}, "a token never leaves the Hub"


def test_a_wrong_token_is_the_devices_fault(
    repository: Repository, hub: HubStandIn, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "does not accept HF_TOKEN" in error.detail


def test_without_room_only_the_size_is_asked_for(repository: Repository, hub: HubStandIn, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", MIB, reserve=0)
    error = failure(cache, pinned())
    assert error.failure is Failure.DOWNLOAD_FAILED
    assert "this device keeps at most" in error.detail
    error = failure(Cache(tmp_path / "cache", 100 * MIB, reserve=1 << 60), pinned())
    assert "the disk has 0 to spare" in error.detail
    assert not hub.requests(method="GET")


def test_nonsense_from_a_server_is_no_crash(repository: Repository, hub: HubStandIn, cache: Cache) -> None:
    hub.disturb("model.gguf", refused(200, x_linked_size="many", etag='"' + "z" * 64 + '"'), method="HEAD")
    assert announced(Place("some/model", COMMIT, "model.gguf")).sha256 is None
    hub.disturb("model.gguf", refused(302, location="http://[::bad"), method="HEAD")
    assert failure(cache, pinned()).failure is Failure.DOWNLOAD_FAILED
    hub.disturb("model.gguf", refused(418), method="HEAD")
    assert "status 418" in failure(cache, pinned()).detail
