"""How close restored images are to the true ones: PSNR and SSIM, image by image, as the SR field has them."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 11  # pixels: the side of SSIM's Gaussian window (Wang et al. 2004, section III.B)
MOST = 100.0  # dB: the PSNR of an image without an error, which would be infinite
CHUNK = 1_000  # images at a time: bounds the float64 copies


def quality(restored: Tensor, true: Tensor, shave: int) -> dict[str, Tensor]:
    """PSNR (dB) and SSIM of each image: psnr and ssim over RGB, psnr_y and ssim_y over luma.

    restored, true: uint8 (n, H, W, 3). Over RGB the whole image counts; over luma, as SR papers report
    it, all but `shave` pixels at each border. Returns float64 (n,) tensors on the CPU; a measure for which
    the images are too small (SSIM wants 11 pixels) is left out. Equal to BasicSR's calculate_psnr and
    calculate_ssim (the mean over channels, for RGB); a perfect image has 100 dB.
    """
    parts = [_quality(a, b, shave) for a, b in zip(restored.cpu().split(CHUNK), true.cpu().split(CHUNK), strict=True)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _quality(restored: Tensor, true: Tensor, shave: int) -> dict[str, Tensor]:
    a, b = (images.permute(0, 3, 1, 2).double() for images in (restored, true))
    found = {"psnr": psnr(a, b), "ssim": ssim(a, b)}
    rows, columns = (slice(shave, side - shave) for side in a.shape[2:])
    a, b = luma(a)[..., rows, columns], luma(b)[..., rows, columns]
    if a.numel():
        found |= {"psnr_y": psnr(a, b), "ssim_y": ssim(a, b)}
    return {name: values for name, values in found.items() if values is not None}


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """dB (n,) of images (n, C, H, W) in 0..255, from the mean square error over all their values."""
    from torchmetrics.functional.image import peak_signal_noise_ratio  # here: its import takes two seconds

    found: Tensor = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    return found.clamp(max=MOST)


def ssim(a: Tensor, b: Tensor) -> Tensor | None:
    """SSIM (n,) of images (n, C, H, W) in 0..255 (Wang et al. 2004, Eq. 13), mean over channels.

    Over the places where the window lies within the image. None for images that are smaller than the window.
    """
    if min(a.shape[2:]) < WINDOW:
        return None
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, full = structural_similarity_index_measure(  # in float32: 25 times as fast, and within 1e-4
        a.float(), b.float(), gaussian_kernel=True, sigma=1.5, kernel_size=WINDOW, data_range=255.0,
        k1=0.01, k2=0.03, return_full_image=True,
    )  # fmt: skip
    border = WINDOW // 2  # where torchmetrics mirrors the image, the window leaves it
    return full[..., border:-border, border:-border].double().mean(dim=(1, 2, 3))


def luma(images: Tensor) -> Tensor:
    """RGB (n, 3, H, W) in 0..255 -> Y (n, 1, H, W) in 16..235 (ITU-R BT.601), as MATLAB's rgb2ycbcr, not rounded."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=images.dtype, device=images.device)
    return (images / 255 * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True) + 16
