"""The record of a finished run: its spec, what was measured, and with what it was made (versions, device, time)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from lrbench.spec.runspec import RunSpec


class DataFacts(BaseModel):
    """The data of a run, after limits, and after validation images were held out of the training images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...]
    side: int = Field(description="of the HR image, in pixels")
    train_images: int
    val_images: int
    test_images: int


class About(BaseModel):
    """What reports say of a method, so that they need not load its class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(description="its name in tables")
    tested_on: Literal["lr", "hr"] = "lr"
    defaults: dict[str, JsonValue] | None = Field(default=None, description="its settings; None if one has none")
    shown: tuple[str, ...] = Field(default=(), description="names of settings that tables show even at their defaults")


class Record(BaseModel):
    """One run, finished or diverged. `spec` holds the specs of all the runs it needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    spec: RunSpec
    status: Literal["done", "diverged"] = Field(default="done", description="diverged: see lrbench.train.training")
    why: str | None = Field(default=None, description="how it diverged, in words")
    metrics: dict[str, float | int | None] = Field(
        description="top1, val_top1, train_top1 (percent), or for an SR net psnr, val_psnr, train_psnr (dB), of the "
        "epoch that is tested, val_... None where nothing is held out; ssim, psnr_y, ssim_y and the same of plain "
        "enlargement, bicubic_..., see lrbench.train.tasks; best_epoch; epochs, and epochs_in_weights, with those of "
        "the run it starts from; side_by_side, the number of runs in its group, which share the time equally: "
        "images_per_second and train_seconds; wall_seconds, of the process that finished it; parameters that were "
        "trained; deployed_parameters, those that its test path depends on, with those of the SR net in front of it; "
        "training_only_parameters, its own that its test path does not depend on, a projector's, say; "
        "macs of one test image, from LR on; peak_memory_mib, of the device, or on the CPU of the process; "
        "predicted_classes, how many classes a classifier predicted on the test images; of a diverged run "
        "diverged_epoch, and last_finite_loss, the mean of the last epoch in which it was a number"
    )
    about: About | None = Field(default=None, description="the method; None in records of before 2026-11-26")
    data: DataFacts
    env: dict[str, JsonValue] = Field(description="versions, git revision, device, when: lrbench.execute.provenance")
    method_source: str | None = Field(description="sha256 of the files of the method and its bases")
    needs_weights: dict[str, str] = Field(
        default={}, description="role of a need -> sha256 of the weights that were given"
    )
    files: dict[str, str] = Field(description="file of this run -> sha256")

    @property
    def diverged(self) -> bool:
        """Whether its training failed, so that its score is not part of a mean."""
        return self.status == "diverged"
