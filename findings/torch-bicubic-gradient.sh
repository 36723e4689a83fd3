#!/usr/bin/env bash
# torch.nn.functional.interpolate, mode "bicubic", with a scale_factor that leaves the image as large as it was: the
# samples lie scale_factor apart, as recompute_scale_factor=False asks, but the gradient is that of a copy, so gradcheck
# fails. ("bilinear" copies in both.) With any other size of the result the gradient is right.
# Fails if that changes: then tests/reference/test_resample.py may compare these gradients, too.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv && venv/bin/pip install --quiet numpy==2.4.6 torch==2.13.0
venv/bin/python - <<'PYTHON'
import torch
from torch.autograd import gradcheck
from torch.autograd.functional import jacobian
from torch.nn.functional import interpolate

print("torch", torch.__version__)
image = torch.linspace(0, 1, 20, dtype=torch.float64).reshape(1, 1, 4, 5) ** 2
found = {}
for scale in (9 / 8, (9 / 8, 2.0)):

    def f(x):
        return interpolate(x, scale_factor=scale, mode="bicubic", recompute_scale_factor=False)

    samples, slopes = f(image), jacobian(f, image).reshape(-1, 20)
    linear = torch.allclose(slopes @ image.flatten(), samples.flatten())  # of a linear function f(x) = J x
    found[scale] = linear, gradcheck(f, image.clone().requires_grad_(), raise_exception=False)
    copied = slopes.shape == (20, 20) and bool((slopes == torch.eye(20, dtype=torch.float64)).all())
    print(f"scale {scale}, {tuple(samples.shape[2:])}: moved {not torch.equal(samples, image)}, "
          f"gradient of a copy {copied}, f(x) = J x and gradcheck {found[scale]}")
assert found == {9 / 8: (False, False), (9 / 8, 2.0): (True, True)}, "the behaviour has changed"
PYTHON
