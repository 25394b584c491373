"""What the reference reads: a checkpoint with its recipe, and batches of samples."""
import gzip
import math
from pathlib import Path

import h5py
import numpy as np


def scalar(text):
    """A YAML scalar, or a list of them, of the kinds that a resolved recipe holds."""
    text = text.strip()
    if text.startswith("["):
        return [scalar(item) for item in text[1:-1].split(",") if item.strip()]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def parse_recipe(text):
    """`section:` lines with indented `key: value` lines below; comments and blank lines between."""
    recipe, section = {}, None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if not key.strip() or key.strip().startswith("#") or key.strip() == "---":
            continue
        value = value.split(" #")[0]
        if not value.strip():
            section = recipe.setdefault(key.strip(), {})
        elif key[0].isspace():
            section[key.strip()] = scalar(value)
        else:
            recipe[key.strip()] = scalar(value)
    return recipe


def read_arrays(group):
    """Every data set below a group by its path, in float64."""
    arrays = {}

    def take(name, node):
        if isinstance(node, h5py.Dataset):
            arrays[name.replace("/", ".")] = np.asarray(node, dtype=np.float64)

    group.visititems(take)
    return arrays


def read_checkpoint(path):
    """Parameters, moments by their name (m, v), and the recipe."""
    with h5py.File(path, "r") as file:
        moments = {name: read_arrays(group) for name, group in file["optimizer"].items()}
        text = file.attrs["recipe"]
        text = text.decode() if isinstance(text, bytes) else str(text)
        return read_arrays(file["params"]), moments, parse_recipe(text)


def model_options(recipe):
    """The recipe's keys that reference.evaluate takes."""
    model, router, loss = recipe["model"], recipe["router"], recipe["loss"]
    if router["noise"] != 0:
        raise SystemExit("the reference knows no router.noise")
    return {**{key: model[key] for key in ("layers", "residual", "activation", "pool")},
            **{key: router[key] for key in ("normalize", "uniform_dispatch", "uniform_combine")},
            "loss": loss["kind"], "label_smoothing": loss["label_smoothing"]}


def read_idx(folder, stem):
    plain, packed = Path(folder) / stem, Path(folder) / f"{stem}.gz"
    data = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">u4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def idx_batch(data, split, count, _):
    prefix = {"train": "train", "test": "t10k"}[split]
    pixels = read_idx(data["path"], f"{prefix}-images-idx3-ubyte")[:count] / 255.0
    labels = read_idx(data["path"], f"{prefix}-labels-idx1-ubyte")[:count].astype(int)
    return ((pixels - data["mean"]) / data["deviation"])[:, None], labels


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011): from four arrays of 32-bit words to four such arrays."""
    mask = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = (np.asarray(word, dtype=np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = ((second >> np.uint64(32)) ^ c1 ^ np.uint64(k0), second & mask,
                          (first >> np.uint64(32)) ^ c3 ^ np.uint64(k1), first & mask)
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def l2norm_batch(data, split, count, epoch):
    """N(0,1) by Box-Muller, from the stream (seed, purpose, split and epoch, sample)."""
    purpose, place = 5, {"train": 4 * epoch, "test": 2}[split]
    tokens, width = data["tokens"], data["width"]
    blocks = -(-tokens * width // 4)
    block, sample = np.meshgrid(np.arange(blocks), np.arange(count))
    counter = (block, sample, np.full_like(block, place), np.full_like(block, purpose << 24))
    words = philox(counter, (data["seed"] & 0xFFFFFFFF, data["seed"] >> 32))
    normals = []
    for a, b in ((words[0], words[1]), (words[2], words[3])):
        radius = np.sqrt(-2.0 * np.log((a + 1.0) * 2.0**-32))
        angle = 2.0 * math.pi * b * 2.0**-32
        normals += [radius * np.cos(angle), radius * np.sin(angle)]
    # The program's samples are float32.
    x = np.stack(normals, axis=-1).reshape(count, 4 * blocks)[:, :tokens * width].astype(np.float32)
    x = x.astype(np.float64).reshape(count, 1, tokens, width)
    return x, np.sqrt(np.sum(x * x, axis=(1, 2, 3)))


def read_batch(recipe, split, count, epoch=0):
    """The first `count` samples of a split: images [B,C,Y,X], and labels or values [B]."""
    source = {"idx": idx_batch, "l2norm": l2norm_batch}[recipe["data"]["source"]]
    return source(recipe["data"], split, count, epoch)


def split_size(data, split):
    """Samples of a split by the recipe, validation not yet cut off; None: all that there are."""
    return data[f"{split}_samples"] or None


def read_split(recipe, split, epoch=0):
    """All of train, validation or test."""
    data = recipe["data"]
    cut = data["validation"]
    if split == "test" or cut == 0:
        return read_batch(recipe, split, split_size(data, split), epoch)
    images, target = read_batch(recipe, "train", split_size(data, "train"), epoch)
    return (images[-cut:], target[-cut:]) if split == "validation" else (images[:-cut],
                                                                        target[:-cut])
