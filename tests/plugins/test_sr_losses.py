"""The SR nets' losses and steps against their equations, in float64 numpy and by hand."""

from collections.abc import Iterator
from copy import deepcopy
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from helpers import tiny
from helpers.extras import needs_basicsr
from lrbench_baselines import imagenet
from torch.nn import functional as F

from lrbench.errors import UserError
from lrbench.method import registry
from lrbench.train.build import start_from

SMALL = {"sr_scale": 4, "channels": 4, "blocks": 1}


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float64)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def moved(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}


def stepped(method: torch.nn.Module, updates: int = 10) -> tuple[list, dict[str, torch.Tensor]]:
    """The optimizers after one step on a batch of noise, and its terms."""
    optimizers = method.train().optimizers(updates)
    for one in optimizers:
        one.set_rate(0)
    return optimizers, method.step(tiny.batch(), optimizers)


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.log(1 / (1 + np.exp(-logits)))


def test_vdsrs_loss_is_half_the_squared_residual_summed_over_an_image():
    vdsr, batch = tiny.method("sr-vdsr", {"sr_scale": 4, "depth": 3, "channels": 4}), tiny.batch()
    f = array(vdsr(batch.up) - batch.up)
    r = array(batch.hr) - array(batch.up)
    expected = np.mean([((r_i - f_i) ** 2).sum() / 2 for r_i, f_i in zip(r, f, strict=True)])
    terms = vdsr.loss(batch)
    assert set(terms) == {"residual"} and terms["residual"].item() == pytest.approx(expected, rel=1e-5)


def clipped_step(lr: float, clip: float) -> tuple[dict, dict, dict]:
    """VDSR's weights before and after its first step, and their gradients, without momentum and decay."""
    settings = {"sr_scale": 4, "depth": 3, "channels": 4, "momentum": 0, "weight_decay": 0, "lr": lr, "clip": clip}
    vdsr, twin = tiny.method("sr-vdsr", settings), tiny.method("sr-vdsr", settings)
    twin.loss(tiny.batch())["residual"].backward()
    stepped(vdsr)
    return weights(twin), weights(vdsr), {name: weight.grad for name, weight in twin.named_parameters()}


@pytest.mark.parametrize("gamma", [0.1, 0.001])
def test_vdsr_clips_each_gradient_to_theta_over_gamma(gamma):
    theta = 1e-3
    before, after, gradients = clipped_step(gamma, theta)
    large = torch.cat([gradient.abs().flatten() for gradient in gradients.values()]) > theta / gamma
    assert 0.05 < large.float().mean() < 1  # some are clipped, some are not
    for name, gradient in gradients.items():
        step = gamma * gradient.clamp(-theta / gamma, theta / gamma)
        assert torch.allclose(before[name] - after[name], step, rtol=1e-4, atol=1e-6), name
        assert (before[name] - after[name]).abs().max() <= theta * 1.001, name


def test_vdsr_clips_by_the_rate_that_its_schedule_has_come_to():
    settings = {"sr_scale": 4, "depth": 3, "channels": 4, "momentum": 0, "weight_decay": 0, "lr": 0.1, "clip": 1e-3}
    vdsr = tiny.method("sr-vdsr", settings).train()
    (one,) = vdsr.optimizers(10)
    one.set_rate(9)  # of 10: the paper's recipe has divided it by 100
    before = weights(vdsr)
    vdsr.step(tiny.batch(), [one])
    most = max((before[name] - value).abs().max().item() for name, value in vdsr.named_parameters())
    gradients = [weight.grad.abs().max().item() for weight in vdsr.parameters()]
    assert max(gradients) == pytest.approx(1e-3 / 1e-3) and most == pytest.approx(1e-3, rel=1e-2)


def test_vdsr_leaves_small_gradients_alone():
    gamma = 1e-4
    before, after, gradients = clipped_step(gamma, clip=1e6)
    assert max(gradient.abs().max() for gradient in gradients.values()) > 10
    for name, gradient in gradients.items():
        assert torch.allclose(before[name] - after[name], gamma * gradient, rtol=1e-3, atol=1e-6), name


def test_vdsrs_optimizer_is_the_papers():
    (one,) = tiny.method("sr-vdsr").optimizers(4)
    (group,) = one.optimizer.param_groups
    assert isinstance(one.optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)


def test_espcns_loss_is_equation_5():
    espcn, batch = tiny.method("sr-espcn", {"sr_scale": 4}), tiny.batch()
    hr, sr = array(batch.hr), array(espcn(batch.lr))
    expected = ((hr - sr) ** 2).sum() / hr.size
    assert espcn.loss(batch)["mse"].item() == pytest.approx(expected, rel=1e-5)


def test_srresnets_loss_is_equation_4_on_images_in_minus_1_1():
    srresnet, batch = tiny.method("sr-srresnet", SMALL).eval(), tiny.batch()
    hr, sr = array(batch.hr) * 2 - 1, array(srresnet.generator(batch.lr))
    expected = ((hr - sr) ** 2).sum() / hr.size
    assert srresnet.loss(batch)["mse"].item() == pytest.approx(expected, rel=1e-5)
    restored = array(srresnet(batch.lr))  # what is stored is in [0, 1]: the same error, at half the range
    assert expected == pytest.approx(4 * ((array(batch.hr) - restored) ** 2).mean(), rel=1e-5)


@needs_basicsr
@pytest.mark.parametrize(("objective", "power"), [("l1", 1), ("mse", 2)])
def test_the_zoos_loss_is_its_objective(objective, power):
    settings = {"arch": "EDSR", "args": {"num_feat": 4, "num_block": 1}, "sr_scale": 4, "objective": objective}
    zoo, batch = tiny.method("sr-basicsr", settings), tiny.batch()
    expected = (np.abs(array(batch.hr) - array(zoo(batch.lr))) ** power).mean()
    terms = zoo.loss(batch)
    assert set(terms) == {objective} and terms[objective].item() == pytest.approx(expected, rel=1e-4)


def test_srgans_terms_are_equations_2_3_and_6():
    srgan, batch = tiny.method("sr-srgan", SMALL).train(), tiny.batch()
    twin = deepcopy(srgan)
    optimizers = srgan.optimizers(10)
    for group in optimizers[1].optimizer.param_groups:
        group["lr"] = 0.0  # the adversarial term looks at the discriminator after its update
    terms = srgan.step(batch, optimizers)
    fake = twin.generator(batch.lr)
    on_real, on_fake = array(twin.discriminator(2 * batch.hr - 1)), array(twin.discriminator(fake))
    expected = -log_sigmoid(on_real).mean() - np.log(1 - 1 / (1 + np.exp(-on_fake))).mean()
    assert set(terms) == {"content", "adversarial", "discrimination"}
    assert terms["discrimination"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["adversarial"].item() == pytest.approx(1e-3 * -log_sigmoid(on_fake).mean(), rel=1e-5)


def test_the_weight_of_the_adversarial_term_is_a_setting():
    one, ten = (stepped(tiny.method("sr-srgan", SMALL | {"adversarial": a}))[1]["adversarial"] for a in (0.1, 1.0))
    assert ten.item() == pytest.approx(10 * one.item(), rel=1e-5)


def test_srgans_content_loss_has_the_pixels_scale_on_its_first_batch_and_keeps_it():
    srgan, batch = tiny.method("sr-srgan", SMALL).train(), tiny.batch()
    real = 2 * batch.hr - 1
    fake = srgan.generator(batch.lr).detach()
    first = ((array(real) - array(fake)) ** 2).mean()
    assert srgan.content_loss(fake, real).item() == pytest.approx(first, rel=1e-5)
    kept = srgan.content_scale.item()
    assert kept > 0 and kept != pytest.approx(1, rel=1e-3)
    other = 0.5 * fake
    a, b = array(srgan.content_features(other)), array(srgan.content_features(real))
    assert srgan.content_loss(other, real).item() == pytest.approx(kept * ((a - b) ** 2).mean(), rel=1e-4)
    assert srgan.content_scale.item() == kept
    assert ((array(real) - array(other)) ** 2).mean() != pytest.approx(kept * ((a - b) ** 2).mean(), rel=1e-3)


def test_srgans_content_scale_is_saved_and_not_set_by_a_test():
    srgan, batch = tiny.method("sr-srgan", SMALL), tiny.batch()
    real, fake = 2 * batch.hr - 1, batch.up
    srgan.eval().content_loss(fake, real)
    assert srgan.state_dict()["content_scale"] == 0
    srgan.train().content_loss(fake, real)
    again = tiny.method("sr-srgan", SMALL)
    again.load_state_dict(srgan.state_dict())
    assert again.content_scale == srgan.content_scale > 0
    assert again.train().content_loss(0.5 * fake, real) == srgan.content_loss(0.5 * fake, real)


@pytest.mark.parametrize("stage", [1, 3])
def test_srgans_features_are_the_frozen_vggs_at_its_stage(stage):
    srgan, image = tiny.method("sr-srgan", SMALL | {"vgg_stage": stage}), 2 * tiny.batch().hr - 1
    vgg = srgan.needs["vgg"]
    assert vgg.name == "hr-baseline" and len(vgg.backbone.stages) == 5
    expected = vgg.backbone.maps((image + 1) / 2)[stage - 1]
    found = srgan.content_features(image)
    assert found.shape[2:] == (16 // 2**stage, 16 // 2**stage)
    assert torch.allclose(found, expected, atol=1e-5)


def test_images_smaller_than_the_vggs_are_enlarged_to_its_side():
    srgan = tiny.method("sr-srgan", SMALL | {"sr_scale": 2})
    image, seen = torch.rand(2, 3, 8, 8) * 2 - 1, []
    maps = srgan.needs["vgg"].backbone.maps
    srgan.needs["vgg"].backbone.maps = lambda x: seen.append(x) or maps(x)
    srgan.content_features(image)
    (x,) = seen
    assert torch.allclose(x, F.interpolate((image + 1) / 2, size=16, mode="bicubic"), atol=1e-6)


def test_each_step_of_srgan_moves_its_own_network_alone():
    for still in (0, 1):
        srgan = tiny.method("sr-srgan", SMALL).train()
        vgg = srgan.needs["vgg"]
        before, frozen = weights(srgan), deepcopy(vgg.state_dict())
        optimizers = srgan.optimizers(10)
        optimizers[still].optimizer.step = lambda: None
        srgan.step(tiny.batch(), optimizers)
        names = {name.partition(".")[0] for name in moved(srgan, before)}
        assert names == {("discriminator", "generator")[still]}
        assert all(torch.equal(value, frozen[name]) for name, value in vgg.state_dict().items())
        assert all(weight.grad is None for weight in vgg.parameters())


def test_the_discriminators_loss_gives_the_generator_no_gradient():
    srgan = tiny.method("sr-srgan", SMALL).train()
    optimizers, found = srgan.optimizers(10), []
    minimize = optimizers[1].minimize

    def look(loss: torch.Tensor) -> None:
        minimize(loss)
        found.append([weight.grad for weight in srgan.generator.parameters()])
        found.append([weight.grad for weight in srgan.discriminator.parameters()])

    optimizers[1].minimize = look
    srgan.step(tiny.batch(), optimizers)
    assert all(gradient is None for gradient in found[0]) and all(gradient is not None for gradient in found[1])


def test_the_generator_goes_down_the_gradient_of_content_and_adversarial_terms():
    srgan, batch = tiny.method("sr-srgan", SMALL | {"adversarial": 0.5}).train(), tiny.batch()
    twin = deepcopy(srgan)
    optimizers = srgan.optimizers(10)
    optimizers[1].optimizer.step = lambda: None
    srgan.step(batch, optimizers)
    fake = twin.generator(batch.lr)
    content = twin.content_loss(fake, 2 * batch.hr - 1)
    (content - 0.5 * F.logsigmoid(twin.discriminator(fake)).mean()).backward()
    for (name, one), other in zip(srgan.generator.named_parameters(), twin.generator.parameters(), strict=True):
        assert other.grad.any() and torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-6), name


def test_srgans_rate_is_divided_by_10_in_its_second_half():
    optimizers = tiny.method("sr-srgan", SMALL, recipe="quick").optimizers(6)
    assert [type(one.optimizer) for one in optimizers] == [torch.optim.Adam] * 2
    for one in optimizers:
        rates = []
        for done in range(6):
            one.set_rate(done)
            rates.append(one.optimizer.param_groups[0]["lr"])
        assert rates == pytest.approx([1e-4] * 3 + [1e-5] * 3)


def test_srgan_starts_from_srresnets_generator():
    srgan = tiny.method("sr-srgan", SMALL)
    assert type(srgan).starts_from(srgan.config) == "init" and srgan.needs["init"].name == "sr-srresnet"
    discriminator, first = deepcopy(srgan.discriminator.state_dict()), srgan.needs["init"].generator
    assert not torch.equal(srgan.generator.tail.weight, first.tail.weight)
    start_from(srgan, srgan.needs["init"])
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in srgan.generator.state_dict().items())
    assert all(torch.equal(value, discriminator[name]) for name, value in srgan.discriminator.state_dict().items())


def test_srgans_first_stage_is_trained_with_its_settings():
    cls = registry.method("sr-srgan")
    needs = cls.needs_of(cls.Config(sr_scale=4, blocks=2, lr=3e-4, sr_epochs=7, gan_lr=1e-5))
    assert needs["init"].method == "sr-srresnet"
    first = registry.method("sr-srresnet").Config(**needs["init"].config)
    assert (first.sr_scale, first.blocks, first.lr, first.sr_epochs) == (4, 2, 3e-4, 7)
    assert (needs["vgg"].method, needs["vgg"].overrides) == ("hr-baseline", {"backbone": "vgg16"})


@pytest.fixture
def small_vgg19(monkeypatch) -> Iterator[list]:
    """torchvision's VGG-19 with few channels and random weights: nothing is fetched. What it was asked for."""
    from torchvision.models import vgg

    asked = []

    def build(weights):
        asked.append(weights)
        net = torch.nn.Module()
        net.features = vgg.make_layers([8 if isinstance(item, int) else item for item in vgg.cfgs["E"]])
        for layer in net.features:
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(layer.weight)
        return net

    monkeypatch.setattr(torchvision.models, "vgg19", build)
    imagenet.vgg19_features.cache_clear()
    yield asked
    imagenet.vgg19_features.cache_clear()


def test_srgan_with_imagenets_vgg_needs_no_hr_baseline_and_does_not_keep_it(small_vgg19):
    srgan, plain = tiny.method("sr-srgan", SMALL | {"vgg": "imagenet"}), tiny.method("sr-srgan", SMALL)
    assert set(srgan.needs) == {"init"} and set(plain.needs) == {"init", "vgg"}
    assert small_vgg19 == []  # a finished run is loaded without it
    assert set(srgan.state_dict()) == set(plain.state_dict())
    assert [name for name, _ in srgan.named_parameters()] == [name for name, _ in plain.named_parameters()]
    before = weights(srgan)
    _, terms = stepped(srgan)
    assert terms["content"] > 0 and small_vgg19 == [torchvision.models.VGG19_Weights.IMAGENET1K_V1]
    assert {name.partition(".")[0] for name in moved(srgan, before)} == {"generator", "discriminator"}


def test_imagenets_vgg_sees_normalised_images_of_96_pixels(small_vgg19):
    srgan, image = tiny.method("sr-srgan", SMALL | {"vgg": "imagenet"}), 2 * tiny.batch(2).hr - 1
    vgg = imagenet.vgg19_features(torch.device("cpu"))
    assert not any(weight.requires_grad for weight in vgg.parameters()) and not vgg.training
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    enlarged = F.interpolate((image + 1) / 2, size=96, mode="bicubic")
    expected = vgg.layers((enlarged - mean) / std)
    found = srgan.content_features(image)
    assert found.shape == (2, 8, 6, 6) and found.std() > 1e-3
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_imagenets_vgg_ends_after_the_rectified_fourth_convolution_of_its_fifth_stage(small_vgg19):
    layers = imagenet.vgg19_features(torch.device("cpu")).layers
    kinds = [type(layer).__name__ for layer in layers]
    stages = " ".join(kinds).split("MaxPool2d")
    assert len(layers) == 36 and [stage.split().count("Conv2d") for stage in stages] == [2, 2, 4, 4, 4]
    assert kinds[-2:] == ["Conv2d", "ReLU"]


@pytest.mark.parametrize("error", [URLError("no route to host"), TimeoutError("timed out"), RuntimeError("bad hash")])
def test_a_vgg_that_cannot_be_fetched_is_a_line_that_names_the_other(monkeypatch, error):
    def fail(weights):
        raise error

    monkeypatch.setattr(torchvision.models, "vgg19", fail)
    imagenet.vgg19_features.cache_clear()
    srgan = tiny.method("sr-srgan", SMALL | {"vgg": "imagenet"})
    with pytest.raises(UserError, match="vgg=hr-baseline") as caught:
        srgan.optimizers(1)  # before the first step
    assert "\n" not in str(caught.value)
