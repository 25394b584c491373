"""The page: one HTML file that needs nothing else, neither network nor scripts."""
import html
import re
from pathlib import Path

from drawing import DARK, LIGHT, svg

LIGHT_PAGE = {"page": "#f5f6f8", "card": "#ffffff", "line": "#dde2e8"}
DARK_PAGE = {"page": "#0f1216", "card": "#171c22", "line": "#2b333c"}
FACTS = {"seed": "seed", "split": "split of the study", "step": "step",
         "data_checksum": "data checksum", "coterie_version": "Coterie", "build": "build", "blas_core": "OpenBLAS core",
         "grains": "grains", "ranks": "ranks", "host": "host", "started": "started",
         "written": "written", "slurm_job_id": "Slurm job"}


def escape(text):
    return html.escape(str(text))


def _prose(text):
    """Escaped, with `code` between backticks."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))


def _variables(*palettes):
    return " ".join(f"--{name}: {value};" for palette in palettes
                    for name, value in palette.items())


def _style():
    sheet = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    # On paper it is always light.
    return (f":root {{ {_variables(LIGHT, LIGHT_PAGE)} }}\n"
            f"@media screen and (prefers-color-scheme: dark) {{ :root {{ "
            f"{_variables(DARK, DARK_PAGE)} }} }}\n{sheet}")


def _tiles(tiles):
    if not tiles:
        return ""
    items = "".join(f'<div class="tile"><dt>{escape(words)}</dt><dd>{escape(value)}</dd></div>\n'
                    for value, words in tiles)
    return f'<dl class="tiles">\n{items}</dl>\n'


def _table(table):
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    rows = ""
    for first, *others in table.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in others)
        rows += f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>\n'
    # It scrolls by itself on narrow screens, so the keyboard must reach it.
    return (f'<div><p class="caption" id="numbers">{escape(table.caption)}</p>\n'
            '<div class="table" tabindex="0" role="region" aria-labelledby="numbers">'
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>"
            "</div></div>\n")


def _figure(plot):
    return (f'<figure class="card" id="{plot.name}">\n<h3>{escape(plot.title)}</h3>\n{svg(plot)}\n'
            f"<figcaption><p>{_prose(plot.reading)}</p></figcaption>\n</figure>\n")


def _main_card(plot, table):
    if plot is None:
        return f'<div class="card">{_table(table)}</div>\n' if table else ""
    if table is None:
        return f'<div class="grid">{_figure(plot)}</div>\n'
    return (f'<div class="card main" id="{plot.name}">\n<figure style="margin:0">\n'
            f"<h3>{escape(plot.title)}</h3>\n{svg(plot)}\n<figcaption><p>{_prose(plot.reading)}</p>"
            f"</figcaption>\n</figure>\n{_table(table)}</div>\n")


def _left_out(left_out):
    if not left_out:
        return ""
    items = "".join(f"<li><b>{escape(name)}</b>: {escape(why)}</li>\n" for name, why in left_out)
    return f'<section>\n<h2>Not shown</h2>\n<ul class="left-out">\n{items}</ul>\n</section>\n'


def _facts(attributes, recipe_text):
    rows = "".join(f'<tr><th scope="row">{words}</th><td>{escape(attributes[name])}</td></tr>\n'
                   for name, words in FACTS.items() if name in attributes)
    table = f'<table class="facts"><tbody>\n{rows}</tbody></table>\n' if rows else ""
    recipe = ""
    if recipe_text:
        recipe = "<details><summary>The recipe</summary>\n" \
                 f"<pre>{escape(recipe_text)}</pre></details>\n"
    return f"<section>\n<h2>Where it comes from</h2>\n{table}{recipe}</section>\n" \
        if table or recipe else ""


def make_page(summary, main_plot, plots, left_out, attributes, recipe_text):
    figures = "".join(map(_figure, plots))
    grid = f'<h2>Figures</h2>\n<div class="grid">\n{figures}</div>\n' if plots else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(summary.title)} · Coterie</title>
<style>
{_style()}</style>
</head>
<body>
<main>
<header>
<h1>{escape(summary.title)}</h1>
<p class="lead">{escape(summary.lead)}</p>
</header>
{_tiles(summary.tiles)}{_main_card(main_plot, summary.table)}{grid}{_left_out(left_out)}\
{_facts(attributes, recipe_text)}<footer>Made by Coterie. The figures are in the folder figures/, \
as PNG and PDF.</footer>
</main>
</body>
</html>
"""
