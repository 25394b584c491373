"""How figures look: colours, axes, labels, and the formats they are saved in.

A figure is drawn once, in the light palette. In the SVG for the page each colour of the palette
becomes a CSS variable, so that the page can show the same figure in light and dark.
"""
import html
import io
import re
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

WIDTH = 4.4  # inches; narrow enough that text stays readable on a phone

# Hues after Okabe and Ito, which colour-blind readers can tell apart; dark enough for white paper,
# and light enough for a dark screen.
LIGHT = {"ink": "#1c2127", "muted": "#59626d", "grid": "#e1e5ea", "blue": "#0068ab",
         "orange": "#c14d06", "green": "#007d5b", "purple": "#98478a", "brown": "#7a5c00"}
DARK = {"ink": "#e8ebef", "muted": "#a3adb9", "grid": "#313a44", "blue": "#62b5f2",
        "orange": "#f59a57", "green": "#3fcaa1", "purple": "#dd94cf", "brown": "#d9b94a"}
# From few to many: ends of a ramp of so many steps, with a stop between.
RAMP_STEPS = 10
LIGHT_RAMP = ("#2b9a86", "#2a69b3", "#431d6e")
DARK_RAMP = ("#2c9a8b", "#62aef5", "#ecdcff")
HEAT = "#2f86d6"  # of images: more of it is more; it stands out from white and from black


def _ramp(ends):
    at = np.linspace(0, 2, RAMP_STEPS)
    channels = [np.interp(at, [0, 1, 2], channel) for channel in zip(*map(to_rgb, ends))]
    return ["#" + "".join(f"{round(255 * c):02x}" for c in colour) for colour in zip(*channels)]


LIGHT |= {f"ramp{i}": colour for i, colour in enumerate(_ramp(LIGHT_RAMP))}
DARK |= {f"ramp{i}": colour for i, colour in enumerate(_ramp(DARK_RAMP))}
HEAT_MAP = ListedColormap([(*to_rgb(HEAT), alpha) for alpha in np.linspace(0, 1, 256)])

matplotlib.rcParams.update({
    "font.family": "sans-serif", "font.size": 9.5, "axes.titlesize": 9.5, "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"], "xtick.color": LIGHT["muted"], "ytick.color": LIGHT["muted"],
    "axes.edgecolor": LIGHT["muted"], "axes.linewidth": 0.7, "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlecolor": LIGHT["ink"],
    "axes.titley": 1.0,  # where it is; searching for room costs a seventh of the time
    "lines.linewidth": 1.7, "lines.markersize": 3.6, "lines.solid_capstyle": "round",
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "svg.fonttype": "none", "svg.hashsalt": "coterie", "pdf.fonttype": 42,
    "image.interpolation": "none"})


class LeftOut(Exception):
    """Why a figure cannot be made, in a few words."""


@dataclass
class Plot:
    """A figure with its words. `reading` says how to read it, `alt` what a reader who cannot see it
    should know."""
    name: str
    title: str
    reading: str
    alt: str
    figure: Figure = field(repr=False)


def need(data, source, *names):
    """The named variables of a data set; LeftOut unless all are there and hold a number."""
    if data is None:
        raise LeftOut(f"there is no {source}")
    for name in names:
        if name not in data:
            raise LeftOut(f"{source} has no {name}")
        if not np.isfinite(np.asarray(data[name], dtype=float)).any():
            raise LeftOut(f"{name} of {source} holds no number")
    return [data[name] for name in names]


# ---- axes ----

def canvas(rows=1, columns=1, height=2.9, right=0.15, left=0.62, gap=0.42, column_gap=0.3,
           **options):
    """A figure and its axes, with margins in inches: `right` is room for labels at line ends."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    panel_height = (height - 0.78 - gap * (rows - 1)) / rows
    panel_width = (WIDTH - left - right - column_gap * (columns - 1)) / columns
    figure.subplots_adjust(left=left / WIDTH, right=1 - right / WIDTH, bottom=0.48 / height,
                           top=1 - 0.3 / height, hspace=gap / panel_height,
                           wspace=column_gap / panel_width)
    return figure, axes if rows > 1 and columns > 1 else axes.ravel()


def ramp_colour(i, count):
    """Colour i of `count` along the ramp."""
    return LIGHT[f"ramp{round(i * (RAMP_STEPS - 1) / max(count - 1, 1))}"]


def percent_axis(axis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}%"))


def log_axis(ax):
    """y on a log scale, with numbers written out."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1, 2, 5) if high < 50 * low else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def plain_axis(axis, ticks=5):
    """Numbers as short as they can be, without a common factor beside the axis."""
    axis.set_major_locator(MaxNLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def fraction(value):
    """1/8 for 0.125, 3/16 for 0.1875."""
    if value >= 1:
        return "1"
    for below in range(2, 1025):
        above = round(value * below)
        if above and abs(above / below - value) < 1e-9:
            return f"{above}/{below}"
    return f"{value:.2g}"


def share_axis(ax, lowest, most_ticks=6):
    """x as a share of the experts, on a log2 scale up to 1."""
    powers = int(np.ceil(-np.log2(lowest) - 1e-9)) if lowest < 1 else 1
    every = max(1, int(np.ceil((powers + 1) / most_ticks)))
    ticks = [2.0**-p for p in range(0, powers + 1, every)]
    ax.set_xscale("log", base=2)
    ax.set_xlim(2.0**(-powers - 0.15), 2.0**0.15)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: fraction(value)))


def count_axis(ax, values):
    """x as whole numbers on a log2 scale, with ticks at the largest and at powers of two."""
    largest = max(int(v) for v in values)
    ticks = [int(v) for v in values if int(v).bit_count() == 1 and 1.4 * v < largest] + [largest]
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))


def limits_around(ax, values, margin=0.06):
    """Limits of y with a margin around these values."""
    logarithmic = ax.get_yscale() == "log"
    values = np.asarray([v for v in values if np.isfinite(v) and (v > 0 or not logarithmic)])
    if len(values) == 0:
        return
    low, high = values.min(), values.max()
    if logarithmic:
        factor = (high / low) ** margin * 1.02
        ax.set_ylim(low / factor, high * factor)
    else:
        pad = margin * (high - low) or abs(high) * margin or 1
        ax.set_ylim(low - pad, high + pad)


def from_zero(ax):
    """Limits of y from 0, with room above the highest line."""
    ax.set_ylim(bottom=0, top=1.08 * max(ax.get_ylim()[1], 1e-30))


# ---- labels in place of legends ----

def spread(positions, distance, low=0.0, high=1.0):
    """Positions moved apart to at least this distance, kept in order and within the limits."""
    order = np.argsort(positions, kind="stable")
    placed = np.clip(np.asarray(positions, dtype=float)[order], low, high)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + distance)
    overshoot = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], overshoot)
        overshoot = placed[i] - distance
    result = np.empty(len(placed))
    result[order] = placed
    return result


def label_lines(ax, lines, side="right"):
    """Name lines at their ends: lines are (x, y, text, colour), x and y where a line ends."""
    lines = [line for line in lines if np.isfinite(line[1])]
    if not lines:
        return
    ax.get_xlim(), ax.get_ylim()  # limits are up to date only once someone asks
    to_axes = ax.transData + ax.transAxes.inverted()
    height = ax.get_position().height * ax.figure.get_figheight()
    places = spread([to_axes.transform((x, y))[1] for x, y, _, _ in lines], 0.16 / height)
    x_text = 1.035 if side == "right" else -0.035
    for y, (x_end, y_end, text, colour) in zip(places, lines):
        ax.annotate(text, (x_end, y_end), (x_text, y), "data", "axes fraction",
                    color=colour, va="center", ha="left" if side == "right" else "right",
                    fontsize=9, annotation_clip=False,
                    arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "alpha": 0.6,
                                "shrinkA": 1, "shrinkB": 2})


def heat_range(values):
    """From no blue to full blue: without the few outermost values, and from 0 unless all the values
    are close together."""
    low, high = np.nanquantile(values, [0.005, 0.995])
    return (0.0 if low < 0.5 * high else float(low)), max(float(high), float(low) + 1e-12)


def heat_image(ax, values, extent, limits):
    """An image, more blue for more, row 0 on top; NaN stays empty."""
    ax.grid(False)
    ax.imshow(np.ma.masked_invalid(values), cmap=HEAT_MAP, vmin=limits[0], vmax=limits[1],
              aspect="auto", extent=extent)
    for spine in ax.spines.values():
        spine.set_visible(False)


def heat_key(figure, limits, words):
    """What the blue of an image means, on the lower right."""
    width, height = figure.get_size_inches()
    ax = figure.add_axes([1 - 1.25 / width, 0.13 / height, 0.6 / width, 0.09 / height])
    ax.imshow(np.linspace(0, 1, 64)[None], cmap=HEAT_MAP, aspect="auto")
    ax.set_axis_off()
    middle = 0.17 / height
    text = {"va": "center", "fontsize": 8.5, "color": LIGHT["muted"]}
    figure.text(1 - 1.31 / width, middle, f"{words}   {limits[0]:.3g}", ha="right", **text)
    figure.text(1 - 0.58 / width, middle, f"{limits[1]:.3g}", ha="left", **text)


# ---- saving ----

_VARIABLES = {colour: f"var(--{name})" for name, colour in LIGHT.items()}


def _own_ids(text, name):
    """Ids that something refers to, made unique to this figure; the others are dropped."""
    used = set(re.findall(r'(?:#)([\w-]+)(?=["\)])', text))

    def renamed(match):
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    return re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)


def svg(plot):
    """The figure as an <svg> element for the page."""
    buffer = io.StringIO()
    plot.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = _own_ids(text, plot.name)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _VARIABLES.get(m[0], m[0]), text)
    # Text takes the page's font; the size stays.
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    box = re.search(r'viewBox="[^"]*"', text)[0]
    head = f'<svg {box} role="img" aria-label="{html.escape(plot.alt)}" ' \
           'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1:])


def save(plots, folder, kind):
    """FOLDER/<name>.png or .pdf of every figure, on white; the same bytes for the same figure."""
    undated = {"Software": None} if kind == "png" else {"CreationDate": None}
    for plot in plots:
        plot.figure.savefig(folder / f"{plot.name}.{kind}", dpi=200, facecolor="white",
                            metadata=undated)
