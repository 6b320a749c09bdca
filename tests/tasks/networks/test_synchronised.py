"""Synchronised batch norm on a CPU: two processes do what one does with both halves of a batch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from tasks.networks.synchronised import SyncBatchNormOnCPU, synchronise_on_cpu

STEPS = 2

SEEN = torch.linspace(-1, 3, 2 * 3 * 8 * 8).view(2, 3, 8, 8)


def network(synchronised: bool) -> nn.Module:
    torch.manual_seed(0)
    layers: nn.Module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)
    )
    if not synchronised:
        return layers
    layers = nn.SyncBatchNorm.convert_sync_batchnorm(layers)
    synchronise_on_cpu(layers)
    assert sum(isinstance(layer, SyncBatchNormOnCPU) for layer in layers.modules()) == 2
    return layers


def train(model: nn.Module, batches: torch.Tensor) -> dict[str, torch.Tensor]:
    """Two steps; returns weights, stored statistics, and what is predicted after them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches:
        optimizer.zero_grad()
        (model(batch) - batch.mean((1, 2, 3), keepdim=True)).square().mean().backward()
        optimizer.step()
    inner = getattr(model, "module", model).eval()
    return {**inner.state_dict(), "predicted": inner(SEEN).detach()}


def one_of_two(rank: int, folder: Path, batches: torch.Tensor) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(network(synchronised=True))
    torch.save(train(model, batches[:, rank::2]), folder / f"{rank}.pth")
    distributed.destroy_process_group()


def test_two_processes_have_the_statistics_and_gradients_of_the_whole_batch(tmp_path: Path):
    torch.manual_seed(1)
    batches = torch.randn(STEPS, 8, 3, 8, 8) * 3 + 1
    expected = train(network(synchronised=False), batches)
    spawn(one_of_two, (tmp_path, batches), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert found[0].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(found[1][name], found[0][name])
