"""A GGUF model in memory: its weights, its adapters and its vocabulary."""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from eval.binding import C, forget_words, last_words
from eval.failing import EvaluationError, refused
from eval.header import Header
from eval.stacks import small_stacks
from eval.tokeniser import Tokeniser
from protocol.failures import Failure

_PIECE_BYTES = 256
MAX_LOADED_ADAPTERS = 8


class LoadedModel:
    """Weights mapped from the file and checked; close it, or use it as a context manager.

    Without `weights` only the vocabulary is read and contexts take no memory: a rehearsal. `card_layers` of the layers,
    counted from the output, go to the graphics card. With the file's `header` texts become tokens sooner
    (`eval.tokeniser`).

    Raises `EvaluationError` with `MODEL_REFUSED` where llama.cpp refuses the file. A hostile file can abort the whole
    process: load only in a child that may die.
    """

    def __init__(self, path: Path, *, weights: bool = True, card_layers: int = 0, header: Header | None = None) -> None:
        forget_words()
        self.card_layers = card_layers
        parameters = C.llama_model_default_params()
        parameters.n_gpu_layers = card_layers
        parameters.load_mode = C.LLAMA_LOAD_MODE_MMAP if weights else C.LLAMA_LOAD_MODE_NONE
        parameters.no_alloc = not weights
        parameters.check_tensors = weights
        parameters.use_extra_bufts = False  # repacked weights round differently from machine to machine
        with small_stacks():
            self.handle: Any = C.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.handle:
            raise refused(Failure.MODEL_REFUSED, last_words())
        self.vocabulary: Any = C.llama_model_get_vocab(self.handle)
        self.vocabulary_size: int = C.llama_vocab_n_tokens(self.vocabulary)
        self.tokeniser = Tokeniser(self.vocabulary, header)
        self.tokens = self.tokeniser.tokens
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._ends: dict[int, bool] = {}
        self._adapters: dict[tuple[Path, bytes], Any] = {}
        if C.llama_model_has_encoder(self.handle) or not C.llama_model_has_decoder(self.handle):
            self.close()
            raise EvaluationError(Failure.MODEL_REFUSED, "only decoder models can be evaluated")

    def __enter__(self) -> "LoadedModel":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees weights and adapters. Contexts of this model must be closed before."""
        if self.handle:
            self._adapters.clear()
            C.llama_model_free(self.handle)  # frees the adapters, too
            self.handle = None

    @property
    def recurrent(self) -> bool:
        """Whether some or all layers keep one state of a sequence instead of keys and values of each token."""
        return bool(C.llama_model_is_recurrent(self.handle) or C.llama_model_is_hybrid(self.handle))

    def adapter(self, path: Path, sha256: bytes) -> Any:
        """The adapter's handle, loaded once. `ADAPTER_REFUSED` where it does not fit this base.

        At most `MAX_LOADED_ADAPTERS` stay loaded; the oldest goes first. Ask for all adapters of one context together
        (`adapters`), so that none of them is the one that goes.
        """
        key = (path, sha256)
        if key not in self._adapters:
            while len(self._adapters) >= MAX_LOADED_ADAPTERS:
                C.llama_adapter_lora_free(self._adapters.pop(next(iter(self._adapters))))
            forget_words()
            handle = C.llama_adapter_lora_init(self.handle, str(path).encode())
            if not handle:
                raise refused(Failure.ADAPTER_REFUSED, f"{path.name}: {last_words()}")
            self._adapters[key] = handle
        self._adapters[key] = self._adapters.pop(key)
        return self._adapters[key]

    def piece(self, token: int, *, special: bool) -> bytes:
        """The bytes that a token stands for; control tokens are empty unless `special`."""
        key = (token, special)
        if key not in self._pieces:
            size = _PIECE_BYTES
            buffer = ctypes.create_string_buffer(size)
            count = C.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, special)
            if count < 0:
                size = -count
                buffer = ctypes.create_string_buffer(size)
                count = C.llama_token_to_piece(self.vocabulary, token, buffer, size, 0, special)
            self._pieces[key] = buffer.raw[: max(count, 0)]
        return self._pieces[key]

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated tokens, control tokens left out; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.piece(token, special=False) for token in ids).decode("utf-8", "replace")

    def ends_generation(self, token: int) -> bool:
        """Whether the vocabulary says that a generation is over after this token."""
        if token not in self._ends:
            self._ends[token] = bool(C.llama_vocab_is_eog(self.vocabulary, token))
        return self._ends[token]
