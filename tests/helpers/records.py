"""Records of finished runs that nobody trained."""

from dataclasses import replace

from helpers import tiny
from lrbench.spec.record import Record

LR = "lr-baseline"
PLAIN = {"bicubic_psnr": 21.25, "bicubic_ssim": 0.625, "bicubic_psnr_y": 22.75, "bicubic_ssim_y": 0.6875}


def record(method=LR, top1=80.0, seed=0, settings=None, dataset="cifar10", side=32, finished="2026-01-01", **changes):
    """A finished run that nobody trained. `changes` are of its protocol; `spec` of the spec that comes of it."""
    of_spec = changes.pop("spec", {})
    data = replace(tiny.info(side), name=dataset, counts={"train": 50_000, "test": 10_000})
    spec = tiny.spec(method, settings, **({"data": data, "width": 1.0, "seed": seed} | changes))
    spec = spec.model_copy(update=of_spec) if of_spec else spec
    before = spec.needs["init"].recipe.epochs if "init" in spec.needs else 0
    metrics = {
        "top1": top1,
        "epochs": spec.recipe.epochs,
        "epochs_in_weights": spec.recipe.epochs + before,
        "images_per_second": 100.0,
    }
    facts = tiny.FACTS.model_copy(update={"side": side, "test_images": 10_000})
    env = {"finished": finished}
    return Record(id=spec.id, spec=spec, metrics=metrics, data=facts, env=env, method_source=None, files={})


def diverged(one, epoch=3):
    """The same run, but that it diverged; it was tested as it was, like a network that guesses."""
    metrics = one.metrics | {"top1": 10.0, "predicted_classes": 1, "diverged_epoch": epoch, "last_finite_loss": 2.5}
    return one.model_copy(update={"status": "diverged", "why": f"no number in epoch {epoch}", "metrics": metrics})


def net(method="sr-espcn", psnr=25.0, seed=0, settings=None, **changes):
    """The finished run of an SR net that nobody trained; its other measures follow from `psnr`."""
    one = record(method, 0.0, seed, settings, **changes)
    counts = {"train_images": one.spec.limit_train or 50_000, "test_images": one.spec.limit_test or 10_000}
    metrics = {name: value for name, value in one.metrics.items() if name != "top1"}
    measured = {"psnr": psnr, "ssim": psnr / 50, "psnr_y": psnr + 1.5, "ssim_y": psnr / 40}
    return one.model_copy(update={"metrics": metrics | measured | PLAIN, "data": one.data.model_copy(update=counts)})
