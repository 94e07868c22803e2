"""From what the user asked for to specs, with all the runs that they need, and to the graph of those to be trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pydantic import BaseModel

from lrbench.data.dataset import DatasetInfo
from lrbench.data.degradation import DEFAULT, DEGRADATIONS, check_scale
from lrbench.data.splits import some_are_rare
from lrbench.device import Precision
from lrbench.errors import UserError, did_you_mean, few, unknown
from lrbench.method import registry
from lrbench.method.backbones import BACKBONES, NONE, TIMM, check_backbone
from lrbench.method.base import Method, Needs
from lrbench.method.registry import as_json, config_of, epochs_in_weights
from lrbench.method.restorer import Restorer
from lrbench.spec import recipes
from lrbench.spec.runspec import PROTOCOL, RESTORATION_PROTOCOL, RunSpec
from lrbench.store.store import Store

WIDEST = 16  # times a backbone's channels: a width above it is taken for a mistake
SELECT = ("none", "best-epoch", "held-out")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the user says of a run, whatever its method. Names and defaults are those of the command line."""

    scale: int = 4
    backbone: str = "resnet18"
    width: float = 1.0
    dropout: float = 0.0
    recipe: str = "paper"  # or the path of a file of the user's own
    epochs: int | None = None  # None: the recipe's
    batch_size: int | None = None  # None: the recipe's
    lr: float | None = None  # None: the recipe's; SR nets have a setting of their own
    degradation: str = DEFAULT
    select: str = "none"
    limit_train: int | None = None  # None: all
    limit_test: int | None = None


@dataclass(frozen=True)
class Protocol(Conditions):
    """What a run shares with the runs it needs."""

    data: DatasetInfo
    precision: Precision
    seed: int = 0

    def check(self) -> None:
        """Raise UserError, naming the nearest valid value, for anything that cannot be run."""
        check_scale(self.data.side, self.scale)
        for kind, name, known in (("degradation", self.degradation, DEGRADATIONS), ("selection", self.select, SELECT)):
            if name not in known:
                raise unknown(kind, name, known)
        if not 0 < self.width <= WIDEST:
            raise UserError(f"width {self.width} is not above 0 and at most {WIDEST}; the smallest useful one is 0.125")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout {self.dropout} is not a part of the features, 0 <= dropout < 1; 0 means none")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"{self.epochs} epochs train nothing; the fewest are 1")
        images = self.limit_train or self.data.counts["train"]
        if self.batch_size is not None and not 2 <= self.batch_size <= images:
            raise UserError(
                f"batch size {self.batch_size}: there are {images:,} training images, and batch normalisation needs "
                f"two in a batch; the nearest valid size is {min(max(self.batch_size, 2), images)}"
            )
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise UserError(f"learning rate {self.lr:g} is not a positive number; one such as 0.1 or 0.01 is")
        check_table(f"{self.recipe}: lr", recipes.fields(self.recipe)["lr"])
        check_backbone(self.backbone, self.width, self.data.side)
        for split, limit in (("train", self.limit_train), ("test", self.limit_test)):
            classes, most = self.classes(split), self.data.counts[split]
            holds_out = split == "train" and self.select != "none" and "val" not in self.data.counts
            least = min(classes + holds_out, most)  # an image of each class, and one to hold out
            if limit is not None and not least <= limit <= most:
                raise UserError(
                    f"--limit-{split} {limit}: {self.data.name} has {most} {split} images of {classes} classes; "
                    f"the nearest valid limit is {min(max(limit, least), most)}"
                )

    def classes(self, split: str) -> int:
        """How many classes have images in a split; all where their images are not known."""
        of_each = self.data.per_class.get(split)
        return len(self.data.classes) if of_each is None else sum(map(bool, of_each))

    def limits(self) -> dict[str, Any]:
        """The fields of the spec that say which images are used; a limit of all is none: the same run, one id."""
        wanted = {"train": self.limit_train, "test": self.limit_test}
        limits = {split: None if limit == self.data.counts[split] else limit for split, limit in wanted.items()}
        rare = [split for split, n in limits.items() if n and some_are_rare(self.data.per_class.get(split, ()), n)]
        kept = {"rare_classes": "kept"} if rare else {}
        return {f"limit_{split}": limit for split, limit in limits.items()} | kept


def capped(protocol: Protocol, note: Callable[[str], None]) -> Protocol:
    """The protocol with a limit above what the dataset has as none: all images. `note` is told so."""
    for limit, split in (("limit_train", "train"), ("limit_test", "test")):
        wanted, most = getattr(protocol, limit), protocol.data.counts[split]
        if wanted is not None and wanted > most:
            note(f"{protocol.data.name} has {most:,} {split} images: all of them are used")
            protocol = replace(protocol, **{limit: None})  # type: ignore[arg-type]
    return protocol


def check_table(place: str, value: Any, backbone: str | None = None) -> None:
    """Raise UserError for a table over backbones that names one that is not there, or has nothing for `backbone`."""
    if not isinstance(value, Mapping):
        return
    known = [*BACKBONES, recipes.DEFAULT]
    for name in value:
        if name not in known and not name.startswith(TIMM):
            raise UserError(f"{place}: {unknown('backbone', name, known)}")
    if backbone is not None and recipes.for_backbone(value, backbone) is None:
        raise UserError(f"{place}: there is no entry for {backbone}; add one, or one for {recipes.DEFAULT}")


def known_settings(methods: Iterable[str], settings: Iterable[str]) -> dict[str, set[str]]:
    """Method -> the settings that it has. Raises UserError for one of `settings` that none of them has."""
    known = {name: set(registry.method(name).Config.model_fields) for name in methods}
    every = sorted(set().union(*known.values()))
    for name in settings:
        if name not in every:
            raise UserError(f"none of these methods has a setting '{name}'; {did_you_mean(name, every)}")
    return known


def plan(name: str, settings: Mapping[str, Any], protocol: Protocol) -> RunSpec:
    """The spec of one run, with the specs of all that it needs.

    settings: the method's config where it differs from its defaults. Raises UserError.
    """
    protocol.check()
    return _spec(name, settings, protocol, above=())


def _spec(name: str, settings: Mapping[str, Any], protocol: Protocol, above: tuple[str, ...]) -> RunSpec:
    cls = registry.method(name)
    config = config_of(cls, settings)
    key = f"{name} {config!r}"
    if key in above:
        raise UserError(f"{name} needs itself, through {' -> '.join(above)}")
    cls.check(config, protocol.scale)
    own = _override(protocol, cls.own_protocol(config))
    hr_only, restores = cls.view == "hr", issubclass(cls, Restorer)
    backbone, width = (NONE, 1.0) if restores else (own.backbone, own.width)
    lr = recipes.recipe(recipes.BASE, NONE).lr if restores else own.lr  # an SR net has a rate of its own, a setting
    recipe = recipes.recipe(own.recipe, backbone, own.epochs, own.batch_size, lr)
    return RunSpec(
        protocol=RESTORATION_PROTOCOL if restores else PROTOCOL,
        method=name,
        version=cls.version,
        config=as_json(cls, config, settings),
        dataset=own.data.name,
        fingerprint=own.data.fingerprint,
        degradation=None if hr_only else own.degradation,
        scale=None if hr_only else own.scale,
        backbone=backbone,
        width=width,
        dropout=0.0 if restores else own.dropout,
        recipe=recipe.model_copy(update={"crop": 0.0}) if restores else recipe,
        precision=own.precision,
        select=own.select,  # type: ignore[arg-type]
        **own.limits(),
        seed=own.seed,
        needs=_needs(cls, config, protocol, recipe.epochs, (*above, key)),
    )


def _needs(
    cls: type[Method], config: BaseModel, protocol: Protocol, epochs: int, above: tuple[str, ...]
) -> dict[str, RunSpec]:
    """Role -> the spec of a needed run. epochs: of the run that needs them.

    A teacher is trained for as many epochs as go into the weights of its student: one of fewer holds it back.
    """
    asked, start = cls.needs_of(config), cls.starts_from(config)
    if start is None and not cls.trains(config):
        raise UserError(f"{cls.name} is not trained; starts_from must name the role of the run whose weights it has")
    if not (isinstance(asked, Mapping) and all(isinstance(need, Needs) for need in asked.values())):
        raise UserError(f"{cls.name}: needs_of returned {asked!r}; it must be a dict, role -> Needs(method)")

    def spec(need: Needs, **inherited: Any) -> RunSpec:
        return _spec(need.method, need.config, _override(protocol, {**inherited, **need.overrides}), above)

    first = {start: spec(asked[start])} if start else {}
    epochs += sum(map(epochs_in_weights, first.values()))

    def trained(role: str, need: Needs) -> RunSpec:
        teaches = not issubclass(cls, Restorer) and not issubclass(registry.method(need.method), Restorer)
        return first.get(role) or (spec(need, epochs=epochs) if teaches else spec(need))

    return {role: trained(role, need) for role, need in asked.items()}


def _override(protocol: Protocol, overrides: Mapping[str, Any]) -> Protocol:
    names = [field.name for field in fields(Protocol)]
    for name in overrides:
        if name not in names:
            raise unknown("field of the protocol", name, names)
    changed = replace(protocol, **overrides)
    changed.check()
    return changed


@dataclass(frozen=True)
class Graph:
    """Runs by id, needs first."""

    specs: dict[str, RunSpec]
    missing: tuple[str, ...]  # to be trained, needs first

    def below(self, run: str) -> set[str]:
        """Ids of all that a run needs, and that those need: a method is loaded with all of them."""
        return {spec.id for spec in self.specs[run].walk()} - {run}

    def roles(self, run: str) -> Counter[str]:
        """What a run is to others of this graph, and to how many: "teacher", 8."""
        return Counter(role for spec in self.specs.values() for role, need in spec.needs.items() if need.id == run)


def edited(specs: Iterable[RunSpec], store: Store) -> Iterator[str]:
    """A line for each method whose source has changed since runs of it were made, which the specs are or need.

    Not of a draft, whose version is made of its source, nor of runs of other stores: another commit made these.
    """
    installed, reused = registry.installed(registry.METHODS), dict[str, list[str]]()
    for content in store.contents({one.id for spec in specs for one in spec.walk()}):
        method, was = content["spec"]["method"], content["method_source"] or ""
        if method not in installed or not was.startswith(registry.SCHEME) or store.origin(content["id"]):
            continue
        if was != registry.source_hash(registry.method(method)):
            reused.setdefault(method, []).append(content["id"])
    for method, ids in reused.items():
        said = f"'{method}' {few(ids, 3)}: reused, but the source of '{method}' has changed since"
        yield f"{said}; raise its `version` if that moves scores"


def graph(specs: Sequence[RunSpec], store: Store) -> Graph:
    """The runs of `specs` and all that they need. A needed run that has lost its weights is trained again."""
    every = {one.id: one for spec in specs for one in spec.walk()}
    missing = {spec.id for spec in specs if store.get(spec) is None}
    for run in reversed(every):  # those that need before those that are needed
        if run in missing:  # a method is loaded with all that it needs itself
            below = [one for one in every[run].walk() if one.id not in missing]
            missing |= {one.id for one in below if store.get(one, weights=True) is None}
    return Graph(every, tuple(run for run in every if run in missing))
