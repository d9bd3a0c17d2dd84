"""Trains where the axes of three tubules meet (`cisterna.graph.meeting`) on drawn networks.

    python tests/bench/train_meeting.py draw OUT.npz --seconds 330 --seed 1   (as many files side by side as cores)
    python tests/bench/train_meeting.py fit OUT.npz … --epochs 10             (writes graph/meeting.npz)

Networks have 150 to 1800 points on 1024² px and widths of 2 to 6 px, three in four bent, half with rough outlines.
Seeds start at 10⁶; tests judge on seeds below 1,000. Targets are the true junctions within 9 px of a thinned one,
matched one to one. The loss saturates at 3 px: what counts is to be near, and an overlap that hides its junction cannot
be learned.
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from cisterna.graph import meeting
from cisterna.graph.parameters import TracingParameters
from cisterna.graph.tracing import thinned, three_way_views
from cisterna.phantoms.score import match_points
from cisterna.phantoms.voronoi import roughened, voronoi_network

POINTS = (150, 300, 900, 900, 1800, 1800)
WIDTHS_PX = (2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 4.0, 5.0, 6.0)
ROUGHNESS = (0.0, 0.0, 0.1, 0.25)
WEIGHTS = Path(meeting.__file__).with_name("meeting.npz")
HIDDEN = 96


def draw(out: str, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, shift, width_px = [], [], []
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        points, width = int(rng.choice(POINTS)), float(rng.choice(WIDTHS_PX))
        bent, rough, name = bool(rng.random() < 0.75), float(rng.choice(ROUGHNESS)), int(rng.integers(10**6, 10**9))
        if points * width**2 > 36_000:
            continue  # tubules without meshes between them
        network = voronoi_network(points, width, name, bent=bent)
        mask = roughened(network.mask, rough, name) if rough else network.mask
        views, turn, placed, local = three_way_views(thinned(mask, np.ones(2), TracingParameters()))
        degree = np.bincount(network.edges.ravel(), minlength=len(network.nodes))
        true = network.nodes[degree >= 3]
        pairs = match_points(placed, true, 9.0).pairs
        dy, dx = (true[pairs[:, 1]] - placed[pairs[:, 0]]).T / local[pairs[:, 0]]
        cos, sin = turn[pairs[:, 0]].T
        seen.append(views[pairs[:, 0]].astype(np.float16))
        shift.append(np.stack([sin * dy + cos * dx, cos * dy - sin * dx], axis=1).astype(np.float32))
        width_px.append(local[pairs[:, 0]].astype(np.float32))
    np.savez(out, seen=np.concatenate(seen), shift=np.concatenate(shift), width_px=np.concatenate(width_px))
    print(f"{len(seen)} networks, {sum(map(len, seen))} junctions")


def mirrored(seen: np.ndarray) -> np.ndarray:
    """The views of the mirror image: across changes sign, the two close branches change places."""
    count = len(meeting.ALONG_WIDTHS)
    swap = [0, 2, 1]
    course = seen[:, : 6 * count].reshape(-1, 3, count, 2)[:, swap] * np.array([1, -1], seen.dtype)
    rest = seen[:, 6 * count : 12 * count].reshape(-1, 2, 3, count)[:, :, swap]
    grid = seen[:, 12 * count + 2 :].reshape(-1, meeting.GRID, meeting.GRID)[:, ::-1]
    parts = (course, rest, seen[:, 12 * count : 12 * count + 2], grid)
    return np.concatenate([p.reshape(len(seen), -1) for p in parts], axis=1)


def fit(files: list[str], epochs: int, batch: int = 1024) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    stored = [np.load(f) for f in files]
    seen, shift, width = (np.concatenate([s[n] for s in stored]) for n in ("seen", "shift", "width_px"))
    held = np.arange(len(seen)) % 10 == 0
    mean, deviation = seen[~held].astype(np.float32).mean(0), seen[~held].astype(np.float32).std(0) + 1e-2
    x, y, w = seen[~held], torch.tensor(shift[~held]), torch.tensor(width[~held])
    sizes = (seen.shape[1], HIDDEN, HIDDEN, 2)
    layers = [torch.nn.Linear(a, b) for a, b in pairwise(sizes)]
    net = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps + 1)
    flip = torch.tensor([1.0, -1.0])
    rng = np.random.default_rng(0)

    def normal(raw: np.ndarray) -> torch.Tensor:
        return torch.tensor((raw.astype(np.float32) - mean) / deviation)

    start = time.monotonic()
    for epoch in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x) - batch + 1, batch):
            some = np.sort(order[first : first + batch])
            mirror = bool(rng.random() < 0.5)
            views = mirrored(x[some]) if mirror else x[some]
            wanted = y[some] * flip if mirror else y[some]
            square = ((net(normal(views)) - wanted) * w[some][:, None]).pow(2).sum(1)
            loss = (square / (square + 9)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            error = (net(normal(seen[held])).numpy() - shift[held]) * width[held][:, None]
        away = np.linalg.norm(error, axis=1)
        within = "  ".join(f"{np.mean(away <= t):.4f} within {t} px" for t in (1, 2, 3, 5))
        print(f"epoch {epoch + 1}, {time.monotonic() - start:.0f} s: {within}", flush=True)
    first = layers[0]
    with torch.no_grad():
        # The features' scale goes into the first layer, so that inference knows nothing of it.
        first.bias -= first.weight @ torch.tensor(mean / deviation)
        first.weight /= torch.tensor(deviation)
    names = {}
    for k, layer in enumerate(layers):
        names[f"weight_{k}"] = layer.weight.detach().numpy().T.astype(np.float32 if k == 0 else np.float16)
        names[f"bias_{k}"] = layer.bias.detach().numpy().astype(np.float32)
    np.savez_compressed(WEIGHTS, **names)
    before = np.linalg.norm(shift[held] * width[held][:, None], axis=1)
    print(f"before: {np.mean(before <= 3):.4f} within 3 px; {WEIGHTS} {WEIGHTS.stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    drawing = actions.add_parser("draw")
    drawing.add_argument("out")
    drawing.add_argument("--seconds", type=float, default=300)
    drawing.add_argument("--seed", type=int, default=1)
    fitting = actions.add_parser("fit")
    fitting.add_argument("files", nargs="+")
    fitting.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    if options.action == "draw":
        draw(options.out, options.seconds, options.seed)
    else:
        fit(options.files, options.epochs)


if __name__ == "__main__":
    main()
