"""A recipe's training samples, in the order that the program takes them."""
from pathlib import Path

import numpy as np
from inputs import l2norm_batch, philox, read_idx

SHUFFLE, NOISE = 2, 3  # purposes of random streams
LAYER_BITS = 40  # noise: where the layer stands in a stream's index


def stream_words(seed, purpose, place, index, blocks):
    """Words [..., 4 blocks] of the streams with these indices [...]."""
    index = np.asarray(index, dtype=np.uint64)[..., None]
    block = np.broadcast_to(np.arange(blocks, dtype=np.uint64), (*index.shape[:-1], blocks))
    high = np.broadcast_to((index >> np.uint64(32)) | np.uint64(purpose << 24), block.shape)
    counter = (block, index & np.uint64(0xFFFFFFFF) | np.zeros_like(block),
               np.full_like(block, place), high)
    words = philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.stack(words, axis=-1).reshape(*block.shape[:-1], 4 * blocks)


def logit_noise(seed, step, layer, first, count, tokens, slots):
    """N(0,1) [count,tokens,slots] for samples first, first + 1, ... of a step's batch."""
    index = (layer << LAYER_BITS) + first + np.arange(count)
    words = stream_words(seed, NOISE, step, index, -(-tokens * slots // 4))
    first_word, second_word = words[..., 0::2], words[..., 1::2]
    radius = np.sqrt(-2.0 * np.log((first_word + 1.0) * 2.0**-32))
    angle = 2.0 * np.pi * second_word * 2.0**-32
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    normals = normals.reshape(count, -1)[:, :tokens * slots]
    return normals.reshape(count, tokens, slots).astype(np.float32)


def shuffled(seed, epoch, samples):
    """Fisher-Yates from the end, one random word a swap."""
    words = stream_words(seed, SHUFFLE, epoch, 0, -(-samples // 4))
    order = np.arange(samples)
    for i in range(samples - 1):
        last = samples - 1 - i
        chosen = int(words[i]) * (last + 1) >> 32
        order[last], order[chosen] = order[chosen], order[last]
    return order


def image_patches(pixels, data, model):
    """Bytes [N,Y,X] -> float32 [N,T,D], normalized: patches in row-major order."""
    value = ((np.arange(256) / 255.0 - data["mean"]) / data["deviation"]).astype(np.float32)
    n, y, x = pixels.shape
    height, width = model["patch_height"], model["patch_width"]
    grid = pixels.reshape(n, y // height, height, x // width, width).transpose(0, 1, 3, 2, 4)
    return value[grid.reshape(n, -1, height * width)]


def idx_samples(recipe, folder):
    data = recipe["data"]
    count = (data["train_samples"] or None) if data["source"] == "idx" else None
    pixels = read_idx(folder, "train-images-idx3-ubyte")[:count]
    labels = read_idx(folder, "train-labels-idx1-ubyte")[:count].astype(np.int64)
    kept = len(pixels) - data["validation"]
    return image_patches(pixels[:kept], data, recipe["model"])[None], labels[:kept][None]


def l2norm_samples(recipe, epochs):
    data, model = recipe["data"], recipe["model"]
    drawn = [l2norm_batch(data, "train", data["train_samples"], epoch) for epoch in range(epochs)]
    x = np.concatenate([images for images, _ in drawn]).astype(np.float32)
    y, width = data["tokens"], data["width"]
    height, across = model["patch_height"], model["patch_width"]
    grid = x.reshape(-1, y // height, height, width // across, across).transpose(0, 1, 3, 2, 4)
    shape = (epochs, data["train_samples"], -1, height * across)
    return (grid.reshape(shape), np.stack([target for _, target in drawn]).astype(np.float32))


class Samples:
    """`tokens` [K,N,T,D] and `target` [K,N], where K is 1 if every epoch has the same; `order`
    [K',N] by epoch, or None in the order of the file."""

    def __init__(self, recipe, steps, make_glyphs):
        """Of so many steps from the start; make_glyphs() writes IDX files, gives their folder."""
        data, train = recipe["data"], recipe["train"]
        if data["source"] == "l2norm":
            epochs = -(-steps // self.batches_of(data["train_samples"], train))
            self.tokens, self.target = l2norm_samples(recipe, epochs)
        else:
            folder = make_glyphs() if data["source"] == "glyphs" else Path(data["path"])
            self.tokens, self.target = idx_samples(recipe, folder)
        self.count = self.target.shape[1]
        self.batch = min(train["batch"], self.count)
        self.batches = self.batches_of(self.count, train)
        epochs = -(-steps // self.batches)
        self.order = None
        if train["shuffle"]:
            self.order = np.stack([shuffled(recipe["seed"], e, self.count) for e in range(epochs)])

    @staticmethod
    def batches_of(samples, train):
        full, rest = divmod(samples, train["batch"])
        return full + (rest > 0 and not train["drop_last"])

    def is_full(self, step):
        """Whether the batch of a step, counted from 0, has as many samples as any."""
        return step % self.batches < self.count // self.batch

    def save(self, folder):
        np.save(folder / "tokens.npy", self.tokens)
        np.save(folder / "target.npy", self.target)
        if self.order is not None:
            np.save(folder / "order.npy", self.order)
