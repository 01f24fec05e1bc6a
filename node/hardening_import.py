"""Makes `import libp2p` work here: the one release that is patched, without fastecdsa.

Imported before anything of libp2p. Nothing else in the project may import libp2p first.
"""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

LIBP2P = "0.8.1"


def require_release(found: str) -> None:
    """Refuse any other release than the one whose private names are replaced here. Raises ImportError."""
    if found != LIBP2P:
        raise ImportError(
            f"libp2p {found} is installed, but node/hardening.py mends exactly {LIBP2P}. "
            f"Install libp2p=={LIBP2P} (make setup does), or review every deviation for {found}."
        )


class _AnyName(type):
    def __getattr__(cls, name: str) -> type["_Refused"]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refused


class _Refused(metaclass=_AnyName):
    """Stands where an elliptic-curve class of fastecdsa would be; using it is an error."""

    def __init__(self, *arguments: object, **named: object) -> None:
        raise NotImplementedError("ECDSA keys are not supported: peers here have Ed25519 keys.")


class _StandIn(ModuleType):
    """A module that has every name, each a class that refuses use."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> type[_Refused]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Refused


class FastecdsaStandIn:
    """Finds `fastecdsa` where it is not installed.

    Replaces: the import of fastecdsa in `libp2p.crypto.ecc` and `libp2p.crypto.key_exchange`. Reason:
    fastecdsa comes as source only and needs GMP's headers and a C compiler; it serves ECDSA keys and SECIO,
    neither of which is used, yet libp2p imports it unconditionally.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The import protocol's finder (PEP 451)."""
        if name.partition(".")[0] != "fastecdsa":
            return None
        return importlib.machinery.ModuleSpec(name, FastecdsaStandIn, is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The import protocol's loader."""
        return _StandIn(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing to run."""


def prepare() -> None:
    """Check the release and install the stand-in."""
    try:
        require_release(version("libp2p"))
    except PackageNotFoundError as error:
        raise ImportError(f"libp2p is not installed. Install libp2p=={LIBP2P} (make setup does).") from error
    if importlib.util.find_spec("fastecdsa") is None:
        sys.meta_path.append(FastecdsaStandIn)


prepare()
