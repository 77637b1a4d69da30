"""The processes of a training: their devices, their precision, and what they exchange."""

import logging
import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Literal

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from rewardlab import devices
from rewardlab.training.loop import TrainError

# The other processes wait while the main one evaluates, saves, or waits for a disk. The default is 10 minutes.
PATIENCE = timedelta(hours=2)
BUCKET_BYTES = 64 * 2**20
# Variables by which `accelerate launch` asks for a way of sharing a model that these trainings do not have.
UNSUPPORTED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}

log = logging.getLogger(__name__)


def start(device: str | None) -> PartialState:
    """Join the other processes of this training, if there are any, on this device (None: a GPU if there is one).

    Raises `TrainError` for FSDP and the like, and for `cuda:1` with several processes, each of which has its own GPU.
    """
    for variable, name in UNSUPPORTED.items():
        if os.environ.get(variable, "false").lower() == "true":
            raise TrainError(
                f"accelerate is configured for {name}, which would divide the weights among the processes. This "
                "training needs all of them in each process. Launch it with `accelerate launch --multi_gpu`, or run "
                f"`accelerate config` again without {name}. To save memory, use --checkpointing and --accumulation "
                "(refl: --memory frugal)."
            )
    state = PartialState(cpu=_on_cpu(device), timeout=PATIENCE)
    if device in (None, "cpu"):
        return state
    wanted = torch.device(device)
    if state.num_processes == 1:
        if wanted.type == "cuda" and wanted.index is not None:
            torch.cuda.set_device(wanted)
        state.device = wanted
    elif wanted.index is not None:
        raise TrainError(
            f"--device {device} names one GPU for {state.num_processes} processes. Remove it: each process takes its "
            "own. To choose them, set CUDA_VISIBLE_DEVICES."
        )
    return state


def _on_cpu(device: str | None) -> bool:
    return device == "cpu" or (device is None and not torch.accelerator.is_available())


def new_accelerator(precision_wanted: str, device: str | None) -> Accelerator:
    """Return an accelerator for this training, also if the process has trained with another precision or device."""
    # accelerate keeps its settings for the life of a process, and refuses others. Only a group of processes must last.
    alone = bool(PartialState._shared_state) and PartialState().num_processes == 1
    AcceleratorState._reset_state(reset_partial_state=alone)
    chosen = precision(precision_wanted, start(device).device)
    return Accelerator(cpu=_on_cpu(device), mixed_precision=chosen)


def precision(wanted: str, device: torch.device | str) -> Literal["bf16", "no"]:
    """Convert auto, fp32 or bf16 to accelerate's value for this device. Raises `TrainError`.

    auto is bf16 only where the hardware computes in it, and fp32 elsewhere: fp16 would need a scaler, and reward
    gradients as small as Eq. 2's would often underflow.
    """
    if wanted == "fp32":
        return "no"
    if devices.computes_bf16(device):
        return "bf16"
    least = ".".join(map(str, devices.BF16_CAPABILITY))
    found = devices.capability(device)
    has = f"{device} has compute capability {found[0]}.{found[1]}" if found else f"{device} is not an NVIDIA GPU"
    if wanted == "bf16":
        raise TrainError(f"bf16 needs compute capability {least}, but {has}: use --precision auto or fp32.")
    if found:
        log.warning("Training in fp32: bf16 needs compute capability %s, but %s.", least, has)
    return "no"


def average_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over processes, each of which has the mean of its share; a missing one counts as zero.

    They are sent in flat buckets, since one message for each of hundreds of small tensors would mostly wait.
    """
    if accelerator.num_processes == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
        mean = accelerator.reduce(torch.cat([gradient.flatten() for gradient in bucket]), "mean")
        for gradient, part in zip(bucket, mean.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Divide tensors of one dtype into groups of about `BUCKET_BYTES`, in order."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(each.nbytes for each in bucket) >= BUCKET_BYTES:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
