#!/usr/bin/env bash
# One would guess: a 3D convolution whose voxels are padded along all three axes alike is computed alike along them.
# What happens: on processors with AVX2 and no AVX-512, oneDNN computes the gradient by the weights of a padded 3 x 3 x 3
#   convolution by its slow way (gemm), and of the same convolution by its fast one (jit:avx2) where the first axis, depth,
#   has no padding. The slow way took about three times the time: an image that is padded beforehand (F.pad, padding 0 along
#   depth) trains faster, and gives the same gradient.
# Source: what oneDNN says of itself (ONEDNN_VERBOSE=2). Time: 344 against 114 ms of 2 x 16 x 48 x 40 x 32 voxels, one thread
#   of an AMD EPYC of family 25, model 1.
# Who is hurt: whoever trains a V-Net or U-Net of volumes on desktop processors and AMD servers before Zen 4. In 2D nothing
#   of it is seen.
# Seen with torch 2.13.0 (oneDNN held to AVX2, as it is on such processors; 16 to 16 channels, 24 x 20 x 16 voxels):
#   padding 1, 1, 1: x64:gemm:jit
#   padding 0, 1, 1: jit:avx2
#   largest difference of the gradients, of their largest: below 1e-4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.2.6
cat > "$folder/gradient.py" <<'PYTHON'
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(0)
x, w = torch.randn(2, 16, 24, 20, 16), torch.randn(16, 16, 3, 3, 3, requires_grad=True)
before = sys.argv[1] == "before"
made = F.conv3d(F.pad(x, (0, 0, 0, 0, 1, 1)) if before else x, w, padding=(0 if before else 1, 1, 1))
(made * torch.linspace(0, 1, made.numel()).view_as(made)).sum().backward()
torch.save(w.grad, sys.argv[2])
PYTHON
cd "$folder"
for how in within before; do
    ONEDNN_MAX_CPU_ISA=AVX2 ONEDNN_VERBOSE=2 OMP_NUM_THREADS=1 venv/bin/python gradient.py "$how" "$how.pt" > "$how.txt"
done
venv/bin/python - <<'PYTHON'
import re

import torch

found = {}
for how, padding in (("within", "1, 1, 1"), ("before", "0, 1, 1")):
    lines = [line for line in open(f"{how}.txt") if ",exec,cpu,convolution," in line and "backward_weights" in line]
    found[how] = re.search(r"convolution,([^,]+),", lines[0])[1]
    print(f"padding {padding}: {found[how]}")
one, other = torch.load("within.pt"), torch.load("before.pt")
apart = float((one - other).abs().max() / one.abs().max())
print(f"largest difference of the gradients, of their largest: {apart:.1e}")
assert found == {"within": "x64:gemm:jit", "before": "jit:avx2"}
assert apart < 1e-4
PYTHON
