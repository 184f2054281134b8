import torch

from jssr.core.adam import Adam


def test_it_steps_as_torchs_does_at_a_changing_rate():
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours, theirs = start.clone(), start.clone().requires_grad_()
    adam, reference = Adam(ours, 0.1), torch.optim.Adam([theirs], lr=0.1)
    for k in range(20):
        adam.rate = reference.param_groups[0]["lr"] = 0.1 * (1 - k / 20)
        reference.zero_grad()
        (theirs**4 + theirs.sin()).sum().backward()
        adam.step(4 * ours**3 + ours.cos())
        reference.step()
    assert (ours - start).abs().mean() > 0.5 and torch.allclose(ours, theirs.detach(), atol=1e-6)
