"""A llama's GGUF file as transformers has it: the same weights, of whatever type, as 32-bit floats, and its tokeniser.

Needs torch, transformers, tokenizers and gguf. Of tokenisers it knows byte-level BPE as `smollm` and `gpt-2` split it.
"""

from pathlib import Path
from typing import Any

CONTROL = 3


def load(path: Path) -> tuple[Any, Any]:
    """The model, in evaluation mode on the processor, and its fast tokeniser."""
    import gguf

    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    if fields["general.architecture"] != "llama":
        raise SystemExit(f"{path.name} is no llama.")
    return _model(reader, fields), _tokenizer(fields)


def _model(reader: Any, fields: dict[str, Any]) -> Any:
    import gguf
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, embedding = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    layers, ids = fields["llama.block_count"], "tokenizer.ggml."
    weights = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    config = LlamaConfig(
        vocab_size=len(fields[f"{ids}tokens"]),
        hidden_size=embedding,
        intermediate_size=fields["llama.feed_forward_length"],
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=fields["llama.attention.head_count_kv"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=fields["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": fields.get("llama.rope.freq_base", 10000.0)},
        tie_word_embeddings="output.weight" not in weights,
        bos_token_id=fields[f"{ids}bos_token_id"],
        eos_token_id=fields[f"{ids}eos_token_id"],
        pad_token_id=fields[f"{ids}eos_token_id"],
    )
    model = LlamaForCausalLM(config).float().eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = weights[names.get_name(name, try_suffixes=(".weight",))]
            if "q_proj" in name or "k_proj" in name:  # llama.cpp turns neighbouring pairs, transformers halves
                half = embedding // heads // 2
                values = values.reshape(-1, half, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
            parameter.copy_(torch.from_numpy(values.copy()))
    return model


def _tokenizer(fields: dict[str, Any]) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    apart = fields["tokenizer.ggml.pre"] == "smollm"
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, split]) if apart else split
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token) for token, kind in zip(tokens, types, strict=True) if kind == CONTROL])
    begin = fields["tokenizer.ggml.bos_token_id"]
    if fields.get("tokenizer.ggml.add_bos_token"):
        single = [(tokens[begin], begin)]
        made.post_processor = processors.TemplateProcessing(single=f"{tokens[begin]} $A", special_tokens=single)
    end = tokens[fields["tokenizer.ggml.eos_token_id"]]
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token=tokens[begin], eos_token=end, pad_token=end)
