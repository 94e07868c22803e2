"""A run's record.json: the record as JSON behind its sha256, and what of it is checked when it is read."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel

from lrbench.spec.recipes import Recipe
from lrbench.spec.record import About, DataFacts, Record
from lrbench.spec.runspec import RunSpec, id_of

Content = dict[str, Any]  # of a record.json, without its checksum
# of each part of a record: the fields that it must have, and those that it may have
FORM: dict[type[BaseModel], tuple[set[str], set[str]]] = {
    part: ({name for name, field in part.model_fields.items() if field.is_required()}, {*part.model_fields})
    for part in (Record, RunSpec, Recipe, DataFacts, About)
}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class OtherVersion(Exception):
    """A record that is whole, but not of the form that this version of lrbench writes."""


def sha256(data: bytes) -> str:
    """The checksum of a file, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def to_bytes(record: Record) -> bytes:
    """What is written: an altered record is noticed by the checksum of its canonical JSON."""
    content = record.model_dump(mode="json")
    return json.dumps({"sha256": sha256(_encode(content).encode()), **content}, indent=1).encode() + b"\n"


def from_bytes(data: bytes, run_id: str) -> Content:
    """The record of a run as JSON values; of an older one without the fields that came later.

    Done without pydantic: a report reads thousands of them. Raises ValueError, KeyError or TypeError where it is not
    what was written or belongs to another run, and OtherVersion.
    """
    content: Content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("record.json is not a record")
    if content.pop("sha256", None) != sha256(_encode(content).encode()):
        raise ValueError("record.json is not what was written")
    if content["id"] != run_id:
        raise ValueError("its id is not the folder's name")
    if not _is_record(content) or id_of(content["spec"]) != run_id:
        raise OtherVersion
    return content


def _is_record(content: Content) -> bool:
    about = content.get("about")
    return (
        _has_form(content, Record)
        and _is_spec(content["spec"])
        and _has_form(content["data"], DataFacts)
        and (about is None or _has_form(about, About))
    )


def _is_spec(content: Content) -> bool:
    return (
        _has_form(content, RunSpec)
        and _has_form(content["recipe"], Recipe)
        and all(map(_is_spec, content["needs"].values()))
    )


def _has_form(content: Any, part: type[BaseModel]) -> bool:
    needed, known = FORM[part]
    return isinstance(content, dict) and needed <= content.keys() <= known
