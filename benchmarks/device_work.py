"""What every side of a comparison asks of a GPU, counted on a stand-in for one: launches, and reads of numbers."""

from __future__ import annotations

from benchmarks.entry import Builder, Size
from seats_ops.testing.device_work import CountDeviceWork
from seats_ops.testing.stand_in_device import DEVICE, Device


def asked_of_a_gpu(build: Builder, size: Size) -> dict[str, dict[str, dict[str, int]]]:
    """ "launches" (Triton kernels and torch operators, a floor) and "host_reads" by entry and side."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    with Device() as device:
        for entry in build(size, DEVICE):
            counts[entry.name] = {}
            for side, run in entry.sides.items():
                before = device.all_reads
                with CountDeviceWork() as counted:
                    run()
                reads = device.all_reads - before + counted.work.reads
                counts[entry.name][side] = {"launches": counted.work.launches, "host_reads": reads}
    return counts
