"""Which base an adapter was made for, as far as its files tell: shapes that fit are no sign of it."""

from pathlib import Path

from msgspec import Struct

from eval.base import checked_header
from eval.demo import catalogue
from eval.peft import BASE_KEY, is_peft, settings_of
from eval.peft_refusals import AdapterRefused, Refusal
from protocol.failures import Failure

MOST_SHOWN = 200
_NAMES = ("general.base_model.0.repo_url", "general.base_model.0.name")


class Origin(Struct, frozen=True):
    """`checked`: whether an adapter names its base by hash, and it is this one; `named`: how else it calls its base."""

    checked: bool
    named: str | None = None


def origin_of(adapter: Path, sha256: bytes, base_sha256: bytes) -> Origin:
    """What is known of the adapter at `adapter`, GGUF with that hash or PEFT, beside the base with the other hash.

    Raises `AdapterRefused` where a packaged adapter is for another packaged base, and `EvaluationError` where it cannot
    be read. A hash that a file itself names is held against the base where it is loaded (`eval.peft.check_base`).
    """
    added, base = catalogue.packaged(sha256), catalogue.packaged(base_sha256)
    if added is not None and base is not None:
        if added.base not in (base.name, base.copy_of):
            spoilt = "with a base of the same shape it would spoil the answers"
            raise AdapterRefused(Refusal.OTHER_BASE, f"{adapter.name} was made for {added.base}: {spoilt}.")
        return Origin(True, added.base)
    if is_peft(adapter):
        return Origin(False, _shown(settings_of(adapter).base_name))
    metadata = checked_header(adapter, Failure.ADAPTER_REFUSED).metadata
    named = next((metadata[key] for key in _NAMES if metadata.get(key)), None)
    return Origin(metadata.get(BASE_KEY) == base_sha256.hex(), _shown(named))


def _shown(name: object) -> str | None:
    return name[:MOST_SHOWN] if isinstance(name, str) and name else None
