# Scores pairs of token lists with PyTorch's own transformer layers, whose weights come from a tiny
# model folder. Reads a question from standard input, see torch.ts.

import json
import math
import struct
import sys

import torch
from torch import nn

question = json.load(sys.stdin)
folder = question["folder"]
config = json.load(open(folder + "/config.json"))
raw = open(folder + "/model.safetensors", "rb").read()
start = 8 + struct.unpack("<Q", raw[:8])[0]
tensors = {}
for name, entry in json.loads(raw[8:start]).items():
    if name == "__metadata__":
        continue
    begin, end = entry["data_offsets"]
    data = bytearray(raw[start + begin : start + end])
    tensors[name] = torch.frombuffer(data, dtype=torch.float32).double().reshape(entry["shape"])


def fill(module, names):
    """Loads weight and bias of modules by the names of the folder."""
    for part, name in names.items():
        target = module.get_submodule(part)
        target.weight.data = tensors[name + ".weight"]
        target.bias.data = tensors[name + ".bias"]


def fill_attention(attention, names, output):
    parts = [tensors[name + ".weight"] for name in names], [tensors[name + ".bias"] for name in names]
    attention.in_proj_weight.data = torch.cat(parts[0])
    attention.in_proj_bias.data = torch.cat(parts[1])
    attention.out_proj.weight.data = tensors[output + ".weight"]
    attention.out_proj.bias.data = tensors[output + ".bias"]


def norm(x, name, eps):
    return nn.functional.layer_norm(
        x, x.shape[-1:], tensors[name + ".weight"], tensors[name + ".bias"], eps
    )


def bert(ids):
    d, eps = config["hidden_size"], config["layer_norm_eps"]
    positions = torch.arange(len(ids)) + question["first"]
    x = (
        tensors["embeddings.word_embeddings.weight"][ids]
        + tensors["embeddings.position_embeddings.weight"][positions]
        + tensors["embeddings.token_type_embeddings.weight"][0]
    )
    x = norm(x, "embeddings.LayerNorm", eps)[None]
    for i in range(config["num_hidden_layers"]):
        layer = nn.TransformerEncoderLayer(
            d, config["num_attention_heads"], config["intermediate_size"], 0, "gelu", eps, True
        ).double()
        name = "encoder.layer.%d" % i
        own = name + ".attention.self."
        fill_attention(
            layer.self_attn,
            [own + part for part in ("query", "key", "value")],
            name + ".attention.output.dense",
        )
        fill(
            layer,
            {
                "linear1": name + ".intermediate.dense",
                "linear2": name + ".output.dense",
                "norm1": name + ".attention.output.LayerNorm",
                "norm2": name + ".output.LayerNorm",
            },
        )
        x = layer(x)
    return x[0]


def bert_score(text, reference):
    own, other = (nn.functional.normalize(bert(ids)) for ids in (text, reference))
    cosines = own @ other.T
    precision = cosines.max(1).values[1:-1].mean().item()
    recall = cosines.max(0).values[1:-1].mean().item()
    f1 = 2 * precision * recall / (precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1}


def bart_side(side, ids, memory=None):
    d = config["d_model"]
    words = tensors["shared.weight"][ids] * math.sqrt(d)
    places = tensors[side + ".embed_positions.weight"][torch.arange(len(ids)) + question["first"]]
    x = norm(words + places, side + ".layernorm_embedding", 1e-5)[None]
    kind = nn.TransformerEncoderLayer if memory is None else nn.TransformerDecoderLayer
    for i in range(config[side + "_layers"]):
        heads, inner = config[side + "_attention_heads"], config[side + "_ffn_dim"]
        layer = kind(d, heads, inner, 0, "gelu", 1e-5, True).double()
        name = "%s.layers.%d" % (side, i)
        names = {"linear1": ".fc1", "linear2": ".fc2", "norm1": ".self_attn_layer_norm"}
        pairs = [(layer.self_attn, ".self_attn.")]
        if memory is None:
            names["norm2"] = ".final_layer_norm"
        else:
            names["norm2"] = ".encoder_attn_layer_norm"
            names["norm3"] = ".final_layer_norm"
            pairs.append((layer.multihead_attn, ".encoder_attn."))
        for attention, part in pairs:
            inputs = [name + part + letter + "_proj" for letter in "qkv"]
            fill_attention(attention, inputs, name + part + "out_proj")
        fill(layer, {part: name + suffix for part, suffix in names.items()})
        if memory is None:
            x = layer(x)
        else:
            mask = torch.full((len(ids), len(ids)), -math.inf).triu(1).double()
            x = layer(x, memory, tgt_mask=mask)
    return x


def bart_score(source, target):
    memory = bart_side("encoder", source)
    shifted = [config["decoder_start_token_id"]] + target[:-1]
    hidden = bart_side("decoder", shifted, memory)[0]
    logits = hidden @ tensors["shared.weight"].T + tensors["final_logits_bias"]
    chosen = torch.log_softmax(logits, -1)[torch.arange(len(target)), target]
    return chosen.mean().item()


score = bert_score if question["kind"] == "bert" else bart_score
print(json.dumps([score(*pair) for pair in question["pairs"]]))
