"""A tree of tensors and plain values as bytes: no pickle, and damage is noticed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from safetensors.torch import load, save

_DIGEST = 32  # bytes of sha256 in front of the content


class Damaged(Exception):
    """The bytes are not those that were written."""


def pack(tree: Any) -> bytes:
    """Dicts (of any plain keys), lists, tensors and JSON values -> bytes, with their sha256 in front."""
    tensors: dict[str, torch.Tensor] = {}

    def strip(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            # a copy of its own: safetensors refuses tensors that share memory
            tensors[str(len(tensors))] = node.detach().cpu().contiguous().clone()
            return {"tensor": len(tensors) - 1}
        if isinstance(node, dict):
            return {"dict": [[key, strip(value)] for key, value in node.items()]}
        if isinstance(node, list | tuple):
            return {"list": [strip(value) for value in node]}
        return {"value": node}

    skeleton = json.dumps(strip(tree))
    content = save(tensors, metadata={"tree": skeleton})
    return hashlib.sha256(content).digest() + content


def unpack(packed: bytes) -> Any:
    """What `pack` was given, tensors on the CPU. Raises Damaged."""
    digest, content = packed[:_DIGEST], packed[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise Damaged("its checksum is wrong")
    tensors = load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])

    def build(node: Any) -> Any:
        kind, value = next(iter(node.items()))
        if kind == "tensor":
            return tensors[str(value)]
        if kind == "dict":
            return {key: build(item) for key, item in value}
        if kind == "list":
            return [build(item) for item in value]
        return value

    return build(json.loads(header["__metadata__"]["tree"]))
