"""One epoch of the MNIST MLP three ways, side by side: a Python loop, one scan, and PyTorch.

Run it with `python benchmarks/mnist_epoch.py [ROUNDS]`. Each round times one epoch of each way, in
turn, so that whatever else the machine does meets them all. Ratios of the medians are printed
first. PyTorch takes part where it is installed; the course does not need it.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from graders import load_mnist

SIZES, BATCH, RATE = (784, 256, 128, 10), 128, 1e-3
Epoch = Callable[[], float]


def init(key: jax.Array) -> list[dict]:
    keys = jax.random.split(key, len(SIZES) - 1)
    shapes = itertools.pairwise(SIZES)
    return [
        {"w": jax.random.normal(k, (m, n)) * jnp.sqrt(2 / m), "b": jnp.zeros(n)}
        for k, (m, n) in zip(keys, shapes, strict=True)
    ]


def forward(params: list[dict], x: jax.Array) -> jax.Array:
    *hidden, last = params
    for layer in hidden:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ last["w"] + last["b"]


def loss_fn(params: list[dict], x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()


optimizer = optax.adam(RATE)


def step(state: tuple, batch: tuple) -> tuple[tuple, jax.Array]:
    params, opt_state = state
    loss, grads = jax.value_and_grad(loss_fn)(params, *batch)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss


def batches(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    count = len(x) // BATCH
    return x[: count * BATCH].reshape(count, BATCH, -1), y[: count * BATCH].reshape(count, BATCH)


def begun() -> tuple:
    params = init(jax.random.key(0))
    return params, optimizer.init(params)


def python_loop(x: jax.Array, y: jax.Array) -> Epoch:
    jitted = jax.jit(step, donate_argnums=0)

    def epoch() -> float:
        state, losses = begun(), []
        for batch in zip(*batches(x, y), strict=True):
            state, loss = jitted(state, batch)
            losses.append(loss)
        return float(jnp.stack(losses).mean())

    return epoch


def one_scan(x: jax.Array, y: jax.Array) -> Epoch:
    scanned = jax.jit(partial(jax.lax.scan, step), donate_argnums=0)
    return lambda: float(scanned(begun(), batches(x, y))[1].mean())


def pytorch(x: jax.Array, y: jax.Array) -> Epoch | None:
    """An eager loop, or None where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    xs, ys = (torch.from_numpy(jax.device_get(part).copy()) for part in batches(x, y))

    def epoch() -> float:
        torch.manual_seed(0)
        layers = []
        for m, n in itertools.pairwise(SIZES):
            layers += [torch.nn.Linear(m, n), torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        adam, losses = torch.optim.Adam(model.parameters(), lr=RATE), []
        for batch, labels in zip(xs, ys.long(), strict=True):
            adam.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch), labels)
            loss.backward()
            adam.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return epoch


def seconds(epoch: Epoch) -> tuple[float, float]:
    start = time.perf_counter()
    loss = epoch()
    return time.perf_counter() - start, loss


def main(rounds: int) -> None:
    mnist = load_mnist()
    x = jnp.asarray(mnist.x_train.reshape(-1, 784), jnp.float32) / 255
    y = jnp.asarray(mnist.y_train, jnp.int32)
    ways = {
        "Python loop over a jitted step": python_loop(x, y),
        "one scan over the epoch": one_scan(x, y),
        "PyTorch, eager": pytorch(x, y),
    }
    epochs = {name: epoch for name, epoch in ways.items() if epoch}
    first = {name: seconds(epoch)[0] for name, epoch in epochs.items()}
    times: dict[str, list[float]] = {name: [] for name in epochs}
    losses = {}
    for _ in range(rounds):
        for name, epoch in epochs.items():
            taken, losses[name] = seconds(epoch)
            times[name].append(taken)
    report({name: statistics.median(taken) for name, taken in times.items()}, first, losses)
    if len(epochs) < len(ways):
        print("PyTorch is not installed here: pip install torch, and run this again.")


def report(medians: dict[str, float], first: dict[str, float], losses: dict[str, float]) -> None:
    fastest = min(medians, key=medians.__getitem__)
    for name, median in medians.items():
        print(f"{median / medians[fastest]:5.2f} x  {name}")
    print(f"\n{'':34}median s   first s   mean loss")
    for name, median in medians.items():
        print(f"{name:34}{median:8.2f}{first[name]:10.2f}{losses[name]:12.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
