"""Muon: torch's own step, in whatever precision, and an orthogonal matrix at the end."""

import pytest
import torch

from chesslm import muon

SHAPES = [(24, 24), (24, 72), (96, 24)]


def steps(kind: type[torch.optim.Muon], iterations: int = 5) -> list[torch.nn.Parameter]:
    """Matrices after three steps along the same gradients; one of them has none."""
    drawn = torch.Generator().manual_seed(1)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=drawn)) for shape in (*SHAPES, (8, 8))]
    optimizer = kind([{"params": matrices, "lr": 0.02, "weight_decay": 0.1, "ns_steps": iterations}])
    for _ in range(3):
        for matrix, shape in zip(matrices, SHAPES, strict=False):
            matrix.grad = torch.randn(shape, generator=drawn)
        optimizer.step()
    return matrices


@pytest.mark.parametrize("iterations", [3, 5])
def test_in_bf16_it_is_that_of_torch(monkeypatch: pytest.MonkeyPatch, iterations: int) -> None:
    monkeypatch.setattr(muon, "resolve_precision", lambda precision, device: torch.bfloat16)
    for ours, theirs in zip(steps(muon.Muon, iterations), steps(torch.optim.Muon, iterations), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_in_fp32_it_is_that_of_torch_as_closely_as_bf16_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "resolve_precision", lambda precision, device: torch.float32)
    for ours, theirs in zip(steps(muon.Muon), steps(torch.optim.Muon), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_comes_out_is_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = muon.orthogonal(matrix, torch.float32)
    values = torch.linalg.svdvals(found)
    assert found.shape == shape and values.min() > 0.5 and values.max() < 1.3
    # The same turns: u' found v is diagonal.
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    turned = u.T @ found @ v.T
    assert (turned - torch.diag(torch.diagonal(turned))).abs().max() < 1e-4
    assert muon.orthogonal(torch.zeros(shape), torch.float32).abs().max() == 0
