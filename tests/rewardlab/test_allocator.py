"""Freed memory is kept by the process, so that large tensors are not mapped anew."""

import platform
import subprocess
import sys

import pytest

ALLOCATIONS = """
import resource
import torch
from rewardlab.allocator import keep_freed_memory

def faults():
    for _ in range(10):  # until the heap has found a place for it
        torch.ones(10 << 20)  # 40 MB, above the largest size that glibc keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_tensors_cause_no_page_faults_once_memory_is_kept():
    printed = subprocess.run([sys.executable, "-c", ALLOCATIONS], capture_output=True, text=True, check=True).stdout
    default, is_kept, kept = printed.split()
    assert is_kept == "True"
    assert int(kept) < int(default) / 20
