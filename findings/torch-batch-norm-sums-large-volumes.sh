#!/usr/bin/env bash
# One would guess: the memory layout changes how fast a normalisation is, not what it gives; mean and deviation of a large
#   volume are exact to some 1e-6 in float32, whatever the layout.
# What happens: on a CPU batch normalisation in training mode adds the voxels of channels-last features up one by one in
#   float32. The larger the volume, the further off mean and deviation are; in the usual order they are exact.
# Source: ATen, native/cpu/batch_norm_kernel.cpp, the channels-last branch, which has one float32 sum for each thread.
# Who is hurt: whoever trains or normalises whole CT or MR volumes channels-last on a CPU. The error grows with the volume,
#   changes with the number of threads, and hides in patches of 64 voxels.
# Seen with torch 2.13.0 on a CPU, one thread, standard normal noise, 4 channels, largest difference from float64:
#   64^3 voxels: usual order 4.6e-07, channels-last 1.5e-04
#   192^3 voxels: usual order 4.3e-07, channels-last 2.5e-02
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
random = torch.Generator().manual_seed(0)
for size, usual, last in ((64, 1e-5, (1e-5, 1e-3)), (192, 2e-5, (5e-3, 1.0))):
    x = torch.randn(1, 4, size, size, size, generator=random)
    exact = F.batch_norm(x.double(), None, None, training=True, eps=1e-5)
    found = F.batch_norm(x, None, None, training=True)
    there = F.batch_norm(x.contiguous(memory_format=torch.channels_last_3d), None, None, training=True)
    apart = [float((made - exact).abs().max()) for made in (found, there)]
    print(f"{size}^3 voxels: usual order {apart[0]:.1e}, channels-last {apart[1]:.1e}")
    assert apart[0] < usual and last[0] < apart[1] < last[1], apart
PYTHON
