"""The numbers of Zhu et al., "Low-resolution visual recognition via deep feature distillation", ICASSP 2019."""

from __future__ import annotations

from lrbench.published import PublishedGallery, PublishedRow, PublishedSweep, PublishedTable

SOURCE = "Zhu et al., ICASSP 2019"
PROTOCOL = "width 1, the whole training set, 100 epochs, one number without a spread"

# what a reader of either table may ask about the training
RESTART = (
    "A student that starts from trained weights (`init`; not the default) is trained by the whole recipe again, from "
    "its peak learning rate on: what the weights had learned late is undone first. The paper does not say how it "
    "fine-tunes."
)
FLIPS = (
    "Training images are flipped at random on every dataset, SVHN's digits among them, as the paper reports one "
    "recipe for all; a mirrored digit is no digit, so this may cost a little on SVHN, in every row alike."
)
TABLE_1 = PublishedTable(
    title="Table 1: top-1 accuracy (%) with different backbones",
    source=SOURCE,
    protocol=PROTOCOL,
    columns=(("cifar10", 4, 32), ("cifar10", 2, 32), ("svhn", 4, 32), ("svhn", 2, 32)),
    rows=(
        PublishedRow("AlexNet", "lr-baseline", "alexnet", (64.08, 69.10, 81.81, 87.77)),
        PublishedRow("DFD (AlexNet)", "dfd", "alexnet", (66.23, 71.60, 81.97, 88.35)),
        PublishedRow("VGG-16", "lr-baseline", "vgg16", (78.41, 88.02, 90.40, 95.52)),
        PublishedRow("DFD (VGG-16)", "dfd", "vgg16", (79.97, 89.35, 91.11, 95.90)),
        PublishedRow("ResNet-18", "lr-baseline", "resnet18", (79.86, 89.12, 90.45, 95.55)),
        PublishedRow("DFD (ResNet-18)", "dfd", "resnet18", (81.26, 90.41, 92.07, 96.02)),
    ),
    reference="lr-baseline",
    notes=(FLIPS, RESTART),
)

SR_FREE = ("sr_scale", "sr_pairs", "sr_epochs", "gan_epochs", "channels", "blocks", "vgg")  # the paper leaves them open


def _super_resolved(net: str, method: str, top1: float) -> PublishedRow:
    """A row of an SR net in front of ResNet-18; it says to which size the net enlarges."""
    labels = {f"sr_scale={scale}": f"{net} to {8 * scale}x{8 * scale} + ResNet-18" for scale in (2, 4)}
    return PublishedRow(f"{net} + ResNet-18", method, "resnet18", (top1,), free=SR_FREE, labels=labels)


TABLE_2 = PublishedTable(
    title="Table 2: top-1 accuracy (%) beside super-resolution, then classification",
    source=SOURCE,
    protocol=PROTOCOL,
    columns=(("cifar10", 4, 32),),
    rows=(
        PublishedRow("HR-baseline", "hr-baseline", "resnet18", (93.38,)),
        PublishedRow("LR-baseline", "lr-baseline", "resnet18", (79.86,)),
        _super_resolved("VDSR", "vdsr", 80.00),
        _super_resolved("ESPCN", "espcn", 79.41),
        _super_resolved("SRGAN", "srgan", 79.05),
        PublishedRow("DFD (ResNet-18)", "dfd", "resnet18", (81.26,)),
    ),
    reference="lr-baseline",
    notes=(
        "Each setting of an SR net that was run has a row of its own, and counts among the comparisons of this table: "
        "the paper does not say how its nets were trained. `sr_pairs=all` shows the SR net all training images, "
        "`sr_pairs=limit` those that the classifier has.",
        "To 16x16 (`sr_scale=2`), as the paper's text has it: what the SR net makes is enlarged to the 32x32 of the "
        "classifier, as the LR images are, without a network. To 32x32 (`sr_scale=4`): the SR net does it all.",
        RESTART,
        "The published SR rows differ from the published LR-baseline by z = 0.25 (VDSR), -0.79 (ESPCN) and -1.42 "
        "(SRGAN) for two unpaired proportions of 10,000 images, less than chance would. That takes the samples as "
        "independent, but they are the same images: paired, at the share of images on which such networks differ here, "
        "SRGAN's -0.81 points are about z = -2. So the published numbers alone cannot tell.",
    ),
)

# The paper has Fig. 2 as a plot only: of its numbers only those that Table 1 has, too, are known.
FIG_2 = PublishedSweep(
    title="Fig. 2: top-1 against λ",
    source=SOURCE,
    protocol="8x8, width 1, the whole training set, 100 epochs, one run a point",
    column=("cifar10", 4, 32),
    method="dfd",
    setting="lam",
    symbol="λ",
    values=(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
    chosen=2.0,
    backbones={"alexnet": "AlexNet", "vgg16": "VGG-16", "resnet18": "ResNet-18"},
    reference="lr-baseline",
    baselines={row.backbone: row.top1[0] for row in TABLE_1.rows if row.method == "lr-baseline" and row.top1[0]},
)

FIG_3 = PublishedGallery(
    title="Fig. 3",
    source=SOURCE,
    nets={"ESPCN": "sr-espcn", "VDSR": "sr-vdsr", "SRGAN": "sr-srgan"},
)
