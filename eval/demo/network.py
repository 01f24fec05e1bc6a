"""A llama-architecture transformer small enough to train on one core, and low-rank adapters on it.

Tensor names are GGUF's. The rotary embedding turns neighbouring pairs, as llama.cpp does for this architecture, so
query and key weights are exported as they are.
"""

import math

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn import functional


class Shape(Struct, frozen=True):
    """Sizes of a network. `context` in tokens, `epsilon` of the norms, `theta` of the rotary embedding."""

    vocabulary: int
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 352
    context: int = 512
    epsilon: float = 1e-5
    theta: float = 10_000.0


class Projection(nn.Linear):  # type: ignore[misc]  # torch is not installed where types are checked
    """A matrix without bias, and room for one adapter: y = Wx + scale * B(Ax)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.lora_a: nn.Parameter | None = None
        self.lora_b: nn.Parameter | None = None
        self.scale = 0.0

    def add_adapter(self, rank: int, alpha: float, generator: torch.Generator) -> list[nn.Parameter]:
        """A fresh adapter, which changes nothing before it is trained; its two parameters."""
        drawn = torch.randn(rank, self.in_features, generator=generator) / math.sqrt(self.in_features)
        self.lora_a = nn.Parameter(drawn)
        self.lora_b = nn.Parameter(torch.zeros(self.out_features, rank))
        self.scale = alpha / rank
        return [self.lora_a, self.lora_b]

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` and the result: (batch, time, features)."""
        outputs = functional.linear(inputs, self.weight)
        if self.lora_a is None:
            return outputs
        low_rank = functional.linear(functional.linear(inputs, self.lora_a), self.lora_b)
        return outputs + self.scale * low_rank


class Norm(nn.Module):  # type: ignore[misc]
    """Root-mean-square norm with a learned gain (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        """Same shape as `inputs`."""
        return functional.rms_norm(inputs, (inputs.shape[-1],), self.weight, self.epsilon)


class Block(nn.Module):  # type: ignore[misc]
    """Attention, then a gated feed-forward layer, each after a norm and added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attn_norm = Norm(shape.width, shape.epsilon)
        self.attn_q = Projection(shape.width, shape.width)
        self.attn_k = Projection(shape.width, shape.width)
        self.attn_v = Projection(shape.width, shape.width)
        self.attn_output = Projection(shape.width, shape.width)
        self.ffn_norm = Norm(shape.width, shape.epsilon)
        self.ffn_gate = Projection(shape.width, shape.hidden)
        self.ffn_up = Projection(shape.width, shape.hidden)
        self.ffn_down = Projection(shape.hidden, shape.width)

    def forward(self, stream: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """`stream`: (batch, time, width); `cosine` and `sine`: (time, half a head)."""
        batch, time, width = stream.shape
        inputs = self.attn_norm(stream)
        query, key, value = (
            project(inputs).view(batch, time, self.heads, -1).transpose(1, 2)
            for project in (self.attn_q, self.attn_k, self.attn_v)
        )
        query, key = _rotate(query, cosine, sine), _rotate(key, cosine, sine)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        stream = stream + self.attn_output(mixed.transpose(1, 2).reshape(batch, time, width))
        inputs = self.ffn_norm(stream)
        return stream + self.ffn_down(functional.silu(self.ffn_gate(inputs)) * self.ffn_up(inputs))


class Network(nn.Module):  # type: ignore[misc]
    """Token ids (batch, time) to logits (batch, time, vocabulary); the embedding is also the output matrix."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        nn.init.normal_(self.token_embd.weight, std=0.05)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.epsilon)
        half = torch.arange(0, shape.width // shape.heads, 2) / (shape.width // shape.heads)
        angles = torch.outer(torch.arange(shape.context).float(), shape.theta**-half)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits for the token after each position."""
        stream, time = self.token_embd(tokens), tokens.shape[1]
        for block in self.blk:
            stream = block(stream, self.cosine[:time], self.sine[:time])
        return functional.linear(self.output_norm(stream), self.token_embd.weight)

    def add_adapters(self, rank: int, alpha: float, seed: int) -> list[nn.Parameter]:
        """Freezes the network and gives every projection a fresh adapter; the parameters left to train."""
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        projections = [module for module in self.modules() if isinstance(module, Projection)]
        return [parameter for module in projections for parameter in module.add_adapter(rank, alpha, generator)]


def _rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    even, odd = heads[..., 0::2], heads[..., 1::2]
    turned = torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1)
    return turned.flatten(-2)
