"""How hard glyphs are: softmax regression trained to convergence, and a network of one layer."""

import sys
from pathlib import Path

import numpy as np

LINEAR_BELOW = 0.92  # what makes the data worth a network
LINEAR_ABOVE = 0.80  # far from chance: the digits are there
NETWORK_ABOVE = 0.975
PENALTY = 1e-4  # on the squared weights: without it separable data have no optimum to converge to
CLASSES = 10


def read_idx(path):
    raw = path.read_bytes()
    axes = raw[3]
    shape = np.frombuffer(raw, ">u4", axes, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_split(folder, name):
    images = read_idx(folder / f"{name}-images-idx3-ubyte")
    labels = read_idx(folder / f"{name}-labels-idx1-ubyte")
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(int)


def softmax(logits):
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def whitening(x):
    """A change of variables in which descent converges fast; the classifiers are the same."""
    covariance = x.T @ x / len(x) + 1e-3 * np.eye(x.shape[1], dtype=np.float32)
    return np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32)


def linear_accuracy(x, y, x_test, y_test):
    """Final and best test accuracy of softmax regression, by Nesterov's method to convergence."""
    x = np.c_[x, np.ones(len(x), np.float32)]
    x_test = np.c_[x_test, np.ones(len(x_test), np.float32)]
    change = whitening(x)
    x, x_test = x @ change, x_test @ change
    target = np.eye(CLASSES, dtype=np.float32)[y]
    weights = before = np.zeros((x.shape[1], CLASSES), np.float32)
    best, first = 0.0, None
    for step in range(2000):
        ahead = weights + step / (step + 3) * (weights - before)
        gradient = x.T @ (softmax(x @ ahead) - target) / len(x) + 2 * PENALTY * ahead
        before, weights = weights, ahead - 2.0 * gradient
        size = float(np.linalg.norm(gradient))
        first = first or size
        if step % 10 == 0:
            accuracy = float(((x_test @ weights).argmax(1) == y_test).mean())
            best = max(best, accuracy)
        if size < 1e-3 * first:
            return accuracy, best, step
    sys.exit("softmax regression did not converge in 2000 steps")


def network_accuracy(x, y, x_test, y_test, hidden=256, epochs=6, batch=128):
    """Test accuracy of x -> ReLU -> classes, trained by Adam at 1e-3."""
    random = np.random.default_rng(0)
    shapes = [(x.shape[1], hidden), (hidden,), (hidden, CLASSES), (CLASSES,)]
    w = [random.uniform(-1, 1, s).astype(np.float32) / np.sqrt(s[0]) for s in shapes]
    m = [np.zeros_like(p) for p in w]
    v = [np.zeros_like(p) for p in w]
    target = np.eye(CLASSES, dtype=np.float32)[y]
    step = 0
    for _ in range(epochs):
        order = random.permutation(len(x))
        for i in range(0, len(x), batch):
            chosen = order[i : i + batch]
            h = np.maximum(x[chosen] @ w[0] + w[1], 0)
            d_logits = (softmax(h @ w[2] + w[3]) - target[chosen]) / len(chosen)
            d_h = (d_logits @ w[2].T) * (h > 0)
            gradients = [x[chosen].T @ d_h, d_h.sum(0), h.T @ d_logits, d_logits.sum(0)]
            step += 1
            for k, g in enumerate(gradients):
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g * g
                w[k] -= 1e-3 * (m[k] / (1 - 0.9**step)) / (np.sqrt(v[k] / (1 - 0.999**step)) + 1e-8)
    logits = np.maximum(x_test @ w[0] + w[1], 0) @ w[2] + w[3]
    return float((logits.argmax(1) == y_test).mean())


def main():
    folder = Path(sys.argv[1])
    x, y = read_split(folder, "train")
    x_test, y_test = read_split(folder, "t10k")
    mean, deviation = x.mean(), x.std()
    x, x_test = (x - mean) / deviation, (x_test - mean) / deviation

    final, best, steps = linear_accuracy(x, y, x_test, y_test)
    network = network_accuracy(x, y, x_test, y_test)
    print(f"softmax regression: {final:.4f} after {steps} steps, {best:.4f} at best")
    print(f"network: {network:.4f}")
    if not LINEAR_ABOVE < final <= best < LINEAR_BELOW:
        sys.exit(f"softmax regression must lie between {LINEAR_ABOVE} and {LINEAR_BELOW}")
    if network < NETWORK_ABOVE:
        sys.exit(f"the network must reach {NETWORK_ABOVE}")


main()
