"""The most memory that Fig. 2's seven runs hold, trained side by side on all of CIFAR-10 at width 1, and a test.

OMP_NUM_THREADS=1 python results/bench/memory.py DATA BACKBONE      DATA: where `lrbench data import` has put cifar10
"""

import sys
from itertools import islice
from pathlib import Path

import torch
from growth import group

from lrbench import device
from lrbench.data import datasets, prepare
from lrbench.execute.provenance import peak_memory_mib
from lrbench.plan import plan

LAMBDAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STEPS = 3


def main(root: Path, backbone: str) -> None:
    """Print the peak, in MiB, of this process: data from the disk, untrained networks, three steps of each, a test."""
    cpu, info = torch.device("cpu"), datasets.info("cifar10", root)
    precision = device.precision("auto", cpu)
    protocol = plan.Protocol(data=info, scale=4, precision=precision, backbone=backbone)
    specs = [plan.plan("dfd", {"lam": lam}, protocol) for lam in LAMBDAS]
    data = prepare.prepare(specs[0], root, cpu)
    members = group(specs, data.facts, data.train)
    for member in members:
        member.begin_epoch()
    for place, draw in enumerate(islice(members[0].batches(), STEPS)):
        for member in members:
            member.update(place, draw)
    members[0].task.measure(members[0].method, data.test)
    print(f"{backbone}: {peak_memory_mib(cpu):,} MiB")


main(Path(sys.argv[1]), sys.argv[2])
