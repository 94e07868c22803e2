"""BasicSR's networks as SR nets, what is said where they cannot be had, and PSNR and SSIM as BasicSR has them."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny
from helpers.extras import needs_basicsr
from lrbench_baselines import basicsr_adapter

from lrbench.errors import UserError
from lrbench.execute.runner import macs
from lrbench.train.build import build
from lrbench.train.tasks import luma, quality, restore

SMALL = {
    "EDSR": {"num_feat": 4, "num_block": 1},
    "RCAN": {"num_feat": 4, "num_group": 1, "num_block": 1, "squeeze_factor": 2},
    "RRDBNet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 2},
    "SRVGGNetCompact": {"num_feat": 4, "num_conv": 1},
    "MSRResNet": {"num_feat": 4, "num_block": 1},
    "SwinIR": {"embed_dim": 6, "depths": [1], "num_heads": [2], "window_size": 4},
}


def zoo(arch: str, args: dict | None = None, sr_scale: int = 2, side: int = 32):
    """The SR net of a planned run, from LR images of a quarter of the side."""
    settings = {"arch": arch, "args": args or {}, "sr_scale": sr_scale}
    spec = tiny.spec("sr-basicsr", settings, data=tiny.info(side))
    return build(spec, tiny.FACTS.model_copy(update={"side": side}), {}, torch.device("cpu"))


def tried(arch: str, args: dict | None = None, side: int = 32) -> str:
    """What a run makes of a network before it trains, at 2x: "" where it restores, else the line for the user."""
    images = tiny.pairs(2, side=side // 2, scale=2)
    try:
        method = zoo(arch, args, side=side)
        macs(method, images.lr[:1])
    except UserError as error:
        return str(error)
    assert restore(method, images).shape == (2, side // 2, side // 2, 3)
    return ""


@needs_basicsr
@pytest.mark.parametrize("sr_scale", [2, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_a_network_of_basicsr_restores_8x8_images(arch, sr_scale):
    side = 8 * sr_scale
    alone = basicsr_adapter.network(arch, sr_scale, 8, SMALL[arch])
    assert alone(torch.rand(2, 3, 8, 8)).shape == (2, 3, side, side)
    method = zoo(arch, SMALL[arch], sr_scale)
    assert type(method.network).__name__ == arch
    assert restore(method, tiny.pairs(3, side=side, scale=sr_scale)).shape == (3, side, side, 3)
    assert sum(weight.numel() for weight in method.parameters()) == sum(w.numel() for w in alone.parameters())


@needs_basicsr
@pytest.mark.parametrize("arch", ["EDSR", "RCAN", "RRDBNet", "SRVGGNetCompact", "MSRResNet", "SwinIR"])
def test_a_network_that_the_setting_names_restores_8x8_images_as_it_comes(arch):
    assert tried(arch) == ""


@needs_basicsr
def test_an_argument_of_the_users_goes_before_what_is_filled_in():
    network = basicsr_adapter.network("SwinIR", 2, 8, SMALL["SwinIR"] | {"upsampler": "pixelshuffledirect"})
    assert network.upsampler == "pixelshuffledirect"
    assert basicsr_adapter.network("SwinIR", 2, 8, SMALL["SwinIR"]).upsampler == "pixelshuffle"


@needs_basicsr
def test_an_unknown_network_names_the_nearest():
    with pytest.raises(UserError, match="no network of BasicSR 'EDSRR'; did you mean 'EDSR'"):
        tiny.spec("sr-basicsr", {"arch": "EDSRR"})


@needs_basicsr
@pytest.mark.parametrize(
    ("arch", "wrong", "right"),
    [("EDSR", "num_blocks", "num_block"), ("RCAN", "num_grup", "num_group"), ("SwinIR", "windowsize", "window_size")],
)
def test_an_unknown_argument_names_the_nearest(arch, wrong, right):
    with pytest.raises(UserError, match=f"'{wrong}'; did you mean '{right}'"):
        zoo(arch, {wrong: 4})


@needs_basicsr
@pytest.mark.parametrize("value", ["many", 1.5, -3, None, [4]])
def test_a_value_that_a_network_does_not_take_is_one_line(value):
    line = tried("EDSR", {"num_feat": value})
    assert "BasicSR's EDSR" in line and "\n" not in line


@needs_basicsr
@pytest.mark.parametrize("arch", ["VGGStyleDiscriminator", "StyleGAN2Generator", "EDVR", "UNetDiscriminatorSN_basicsr"])
def test_a_network_of_another_kind_is_one_line(arch):
    line = tried(arch)
    assert arch in line and "\n" not in line


@needs_basicsr
@pytest.mark.parametrize(
    ("arch", "args"),
    [("SRVGGNetCompact_basicsr", {"upscale": 4}), ("MSRResNet", {"upscale": 4}), ("EDSR", {"num_in_ch": 1})],
)
def test_a_network_that_gives_another_size_is_found_before_it_trains(arch, args):
    line = tried(arch, {**SMALL[arch.removesuffix("_basicsr")], **args})
    assert line and "\n" not in line


@needs_basicsr
def test_every_registered_network_restores_or_is_refused_in_one_line(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("a test fetches nothing")

    monkeypatch.setattr("socket.socket.connect", offline)
    basicsr_adapter.basicsr("archs")
    archs = dict(iter(basicsr_adapter.basicsr("utils.registry").ARCH_REGISTRY))
    assert len(archs) > 15 and "EDSR" in archs
    wrong = {}
    for arch in archs:
        try:
            line = tried(arch)
        except Exception as error:
            wrong[arch] = f"{type(error).__name__}: {error}"
        else:
            if "\n" in line:
                wrong[arch] = line
    assert wrong == {}


class Absent:
    """A finder, asked before the others, that says of BasicSR what Python says where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "basicsr":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_basicsr(monkeypatch):
    """As where it is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "basicsr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    basicsr_adapter.basicsr.cache_clear()
    yield
    basicsr_adapter.basicsr.cache_clear()


def on_python(monkeypatch, *version: int) -> None:
    fake = SimpleNamespace(modules=sys.modules, version_info=version)
    monkeypatch.setattr(basicsr_adapter, "sys", fake)


@pytest.mark.parametrize("name", ["sr-basicsr", "basicsr"])
def test_without_basicsr_a_line_says_how_to_install_it(monkeypatch, without_basicsr, name):
    on_python(monkeypatch, 3, 12, 1)
    with pytest.raises(UserError, match=r"^this needs BasicSR; .* pip install 'lrbench\[sr\]'") as caught:
        tiny.spec(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [(3, 13, 0), (3, 14, 2)])
def test_on_a_python_that_basicsr_does_not_build_on_a_line_says_so(monkeypatch, without_basicsr, version):
    on_python(monkeypatch, *version)
    with pytest.raises(UserError, match=r"BasicSR .* does not build on Python 3\.13 .* 3\.11 or 3\.12") as caught:
        tiny.spec("sr-basicsr")
    assert "\n" not in str(caught.value) and "pip install" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'cv2'", name="cv2"),
        ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"),
    ],
)
def test_a_basicsr_that_does_not_import_is_one_line(monkeypatch, without_basicsr, error):
    def fail(name):
        raise error

    monkeypatch.setattr(basicsr_adapter.importlib, "import_module", fail)
    with pytest.raises(UserError, match=re.escape(str(error))) as caught:
        basicsr_adapter.checked("EDSR", {})
    assert "\n" not in str(caught.value)


def test_listing_the_methods_does_not_import_basicsr():
    code = "import sys; from lrbench.cli import cli; cli(['methods'], standalone_mode=False); "
    code += "sys.exit('basicsr' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sr-basicsr" in done.stdout and "BROKEN" not in done.stdout


def test_only_the_adapter_imports_basicsr():
    root = Path(__file__).resolve().parents[2]
    imports = re.compile(r"^\s*(import|from)\s+basicsr\b|import_module\(.*\bbasicsr\b", re.MULTILINE)
    files = [file for folder in ("lrbench", "baselines", "methods") for file in (root / folder).rglob("*.py")]
    found = {str(file.relative_to(root)) for file in files if imports.search(file.read_text())}
    assert len(files) > 40 and found == {"baselines/basicsr_adapter.py"}


def images(kind: str, side: int, n: int = 4, seed: int = 0) -> torch.Tensor:
    """uint8 (n, side, side, 3): noise, or waves as smooth as an enlarged image."""
    draw = np.random.default_rng(seed)
    if kind == "noise":
        return torch.from_numpy(draw.integers(0, 256, (n, side, side, 3), dtype=np.uint8))
    y, x = np.mgrid[:side, :side]
    phases = draw.uniform(0, 6, (n, 1, 1, 3))
    waves = np.sin(x[..., None] / 5 + phases) * np.cos(y[..., None] / 7 + 2 * phases)
    return torch.from_numpy((128 + 110 * waves).astype(np.uint8))


def disturbed(true: torch.Tensor, most: int = 9) -> torch.Tensor:
    noise = torch.randint(-most, most + 1, true.shape, generator=torch.Generator().manual_seed(3))
    return (true.int() + noise).clamp(0, 255).byte()


@needs_basicsr
@pytest.mark.parametrize(("side", "shave"), [(16, 2), (32, 4), (32, 0), (33, 3), (27, 8)])
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_psnr_and_ssim_are_basicsrs(kind, side, shave):
    metrics = basicsr_adapter.basicsr("metrics.psnr_ssim")
    true = images(kind, side)
    for restored in (disturbed(true), images(kind, side, seed=1)):
        found = quality(restored, true, shave)
        assert set(found) == {"psnr", "ssim", "psnr_y", "ssim_y"}
        for name, values in found.items():
            measure = metrics.calculate_psnr if name.startswith("psnr") else metrics.calculate_ssim
            luma_only = name.endswith("_y")
            expected = [
                measure(a[..., ::-1], b[..., ::-1], crop_border=shave if luma_only else 0, test_y_channel=luma_only)
                for a, b in zip(restored.numpy(), true.numpy(), strict=True)  # BasicSR's colours are BGR
            ]
            assert values.dtype == torch.float64 and values.shape == (4,)
            assert values.tolist() == pytest.approx(expected, abs=1e-4), name


def test_psnr_is_its_formula_image_by_image():
    true = images("smooth", 12)
    restored = torch.cat([disturbed(true[:2]), disturbed(true[2:], most=40)])
    a, b = restored.numpy().astype(np.float64), true.numpy().astype(np.float64)
    expected = 10 * np.log10(255**2 / ((a - b) ** 2).mean(axis=(1, 2, 3)))
    assert quality(restored, true, 2)["psnr"].tolist() == pytest.approx(expected, abs=1e-5)
    assert expected[:2].min() > expected[2:].max()
    weights = np.array([65.481, 128.553, 24.966]) / 255
    error = ((a - b) @ weights)[:, 2:-2, 2:-2]
    expected_y = 10 * np.log10(255**2 / (error**2).mean(axis=(1, 2)))
    assert quality(restored, true, 2)["psnr_y"].tolist() == pytest.approx(expected_y, abs=1e-5)


def test_a_perfect_image_has_100_db_and_an_ssim_of_1():
    found = quality(images("smooth", 16), images("smooth", 16), 2)
    assert found["psnr"].tolist() == found["psnr_y"].tolist() == [100.0] * 4
    assert found["ssim"].tolist() == found["ssim_y"].tolist() == pytest.approx([1.0] * 4, abs=1e-12)


def test_images_below_11_pixels_have_no_ssim():
    assert set(quality(images("noise", 10), images("smooth", 10), 0)) == {"psnr", "psnr_y"}
    assert set(quality(images("noise", 11), images("smooth", 11), 0)) == {"psnr", "ssim", "psnr_y", "ssim_y"}
    assert set(quality(images("noise", 12), images("smooth", 12), 1)) == {"psnr", "ssim", "psnr_y"}


@pytest.mark.parametrize("shave", [8, 9, 16, 40])
def test_shaving_everything_away_leaves_rgb_only(shave):
    assert set(quality(images("noise", 16), images("smooth", 16), shave)) == {"psnr", "ssim"}


def test_many_images_are_measured_in_parts_and_in_order(monkeypatch):
    true = images("smooth", 12, n=7)
    restored = torch.cat([disturbed(image[None], most=5 + 3 * place) for place, image in enumerate(true)])
    whole = quality(restored, true, 0)
    monkeypatch.setattr("lrbench.train.tasks.CHUNK", 3)
    parts = quality(restored, true, 0)
    assert all(parts[name].tolist() == pytest.approx(values.tolist(), abs=1e-9) for name, values in whole.items())
    assert whole["psnr"].tolist() == sorted(whole["psnr"].tolist(), reverse=True)


@pytest.mark.parametrize(
    ("colour", "y"),
    [((0, 0, 0), 16), ((255, 255, 255), 235), ((255, 0, 0), 81), ((0, 255, 0), 145), ((0, 0, 255), 41)],
)
def test_luma_is_bt_601s(colour, y):
    pixel = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert luma(pixel).shape == (1, 1, 2, 2)
    assert luma(pixel).round().unique().tolist() == [y]
