"""What must be true of every report.

    report_check.py page FOLDER                 report.html is well-formed, needs nothing outside of
                                                itself, and every figure is there as PNG and PDF
    report_check.py numbers FOLDER STUDY        its headline and table say what the study says
    report_check.py table FOLDER                its table says what the studies in the folder say
    report_check.py final FOLDER                it says how well the run ended
    report_check.py narrow CHROMIUM FOLDER...   at the width of a phone nothing sticks out
    report_check.py missing ANALYSIS FOLDER     without any one variable of its files, all is made
                                                but the figures that need it; and with no answer
                                                right
"""
import html
import json
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np

VOID = {"meta", "br", "img", "hr", "link", "input", "col"}
PHONE = 390


class Page(HTMLParser):
    """Collects what a page refers to; complains of tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.ids, self.figures = [], [], [], []
        self.tags = set()
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_startendtag(self, tag, attributes):
        self.look(tag, dict(attributes))

    def handle_starttag(self, tag, attributes):
        self.look(tag, dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def look(self, tag, attributes):
        self.tags.add(tag)
        self.references += [attributes[name] for name in ("src", "href", "xlink:href", "data")
                            if name in attributes]
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "svg":
            assert attributes.get("aria-label"), "a figure without words"
        if "card" in attributes.get("class", "").split() and "id" in attributes:
            self.figures.append(attributes["id"])


def read(folder):
    return (Path(folder) / "report.html").read_text(encoding="utf-8")


def check_page(folder):
    text = read(folder)
    page = Page(text)
    outside = [r for r in page.references if not r.startswith(("#", "data:"))]
    outside += [r for r in re.findall(r"url\(([^)]*)\)", text) if not r.startswith("#")]
    assert not outside, f"needs {outside}"
    assert not page.tags & {"script", "link", "iframe"} and "@import" not in text
    assert len(page.ids) == len(set(page.ids)), "an id twice"
    missing = {r[1:] for r in page.references if r.startswith("#") and len(r) > 1} - set(page.ids)
    missing |= set(re.findall(r"url\(#([^)]*)\)", text)) - set(page.ids)
    assert not missing, f"refers to {missing}"
    # A colour that is no variable would stay as it is on a dark screen; black is the default.
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.S))
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", drawn), "a colour that knows no dark"
    assert "var(--blue)" in drawn or "var(--ramp" in drawn
    assert page.figures, "no figure at all"
    made = {path.name for path in (Path(folder) / "figures").iterdir()}
    for name in page.figures:
        for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
            data = (Path(folder) / "figures" / f"{name}.{kind}").read_bytes()
            assert data.startswith(magic) and len(data) > 2000, f"{name}.{kind}: {len(data)} bytes"
            made.discard(f"{name}.{kind}")
    assert not made, f"figures that the page does not know: {made}"
    print(f"{folder}: {len(page.figures)} figures, {len(text) // 1024} KiB")


def check_numbers(folder, study):
    words = html.unescape(re.sub("<[^>]*>", " ", read(folder)))
    with h5py.File(study) as file:
        keeps, line = file["keep"][...], file["accuracy_combine"][-1]
        full, random = file["accuracy"][-1], file["accuracy_random_mean"][-1]
        experts = file["expert"].size
    enough = min(int(k) for k, value in zip(keeps, line) if value >= 0.99 * full)
    assert 1 < enough < experts, "made-up numbers that tell nothing"
    assert f"{enough} of {experts}" in words, f"{enough} of {experts} is not the headline"
    for value in (*line, *random):
        assert f"{100 * value:.2f}%" in words, f"{value} is not in the table"
    assert np.isfinite(line).all()


def rows_of(folder):
    """The table beside the main figure: each row by its headings."""
    table = re.search(r"<table>(.*?)</table>", read(folder), flags=re.S)[1]
    texts = [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
             for row in re.findall(r"<tr>(.*?)</tr>", table, flags=re.S)]
    return [dict(zip(texts[0], row, strict=True)) for row in texts[1:]]


def mean_of_studies(folders):
    """By K, the mean over the studies of what Algorithm 1 and random subsets reach, then what all
    experts reach: the accuracy, or the share of the variance that is explained."""
    curves = []
    for folder in folders:
        with h5py.File(folder / "study.h5") as file:
            name, good = ("accuracy", 1) if "accuracy" in file else ("relative_error", -1)
            curves.append([(good < 0) + good * file[f"{name}{part}"][-1]
                           for part in ("_combine", "_random_mean", "")])
            keeps = file["keep"][...]
    chosen, random, full = (np.mean(values, axis=0) for values in zip(*curves))
    return dict(zip(keeps, chosen)), dict(zip(keeps, random)), full


def check_table(folder):
    folder, seen = Path(folder), set()
    for row in rows_of(folder):
        members = sorted(folder.glob(f"e{row['E']}-s*")) if "E" in row else [folder]
        chosen, random, full = mean_of_studies(members)
        assert "E" not in row or int(row["runs"]) == len(members)
        for heading, cell in row.items():
            part = re.search(r"E/(\d)", heading)
            if part:
                reached = (random if "random" in heading else chosen).get(
                    int(row["E"]) / int(part[1]))
                wanted = "–" if reached is None else f"{100 * reached / full:.1f}%"
            elif "99%" in heading:
                wanted = str(min(k for k, value in chosen.items() if value >= 0.99 * full))
            elif heading in ("of full", "of explained variance"):
                wanted = f"{100 * chosen[int(row['K'])] / full:.1f}%"
            else:
                continue
            seen.add(heading)
            assert cell == wanted, f"{row}: {heading} is {wanted}"
    assert len(seen) >= (5 if "E" in row else 1), f"only {seen} was found"


def check_final(folder):
    lines = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
    value = [line["test_accuracy"] for line in lines if line["event"] == "epoch"][-1]
    tiles = read(folder).split("<figure")[0]
    assert f"{100 * value:.2f}%" in tiles, f"{value} is not at the top of the page"


def check_narrow(chromium, *folders):
    """The pages in frames as wide as a phone; a script beside them measures."""
    script = """
        const found = [];
        for (const frame of document.querySelectorAll('iframe')) {
            const page = frame.contentDocument, out = [];
            for (const text of page.querySelectorAll('svg text')) {
                const box = text.getBoundingClientRect(), card = text.closest('.card')
                    .getBoundingClientRect();
                if (box.right > card.right + 1 || box.left < card.left - 1)
                    out.push(text.textContent);
            }
            found.push({width: page.documentElement.scrollWidth, out: out});
        }
        result.textContent = 'FOUND=' + JSON.stringify(found);"""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "narrow.html"
        frames = "".join(f'<iframe style="width:{PHONE}px;height:900px;border:0" srcdoc="'
                         f'{html.escape(read(folder))}"></iframe>' for folder in folders)
        path.write_text(f'<body style="margin:0"><pre id="result"></pre>{frames}'
                        f"<script>onload = () => {{{script}}}</script>")
        command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                   f"--user-data-dir={scratch}/profile", f"file://{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    found = re.search(r"FOUND=(.*?)</pre>", done.stdout)
    assert found, f"chromium measured nothing: {done.stderr[-300:]}"
    found = json.loads(html.unescape(found[1]))
    assert len(found) == len(folders)
    for folder, page in zip(folders, found):
        assert page["width"] <= PHONE, f"{folder}: {page['width']} pixels wide on a phone of {PHONE}"
        assert not page["out"], f"{folder}: text outside of its card: {page['out']}"


def check_missing(analysis, folder):
    sys.path.insert(0, analysis)
    import coterie_files
    import figures_study
    import figures_training
    import summary
    from drawing import LeftOut

    def make(run, makers):
        made = 0
        for maker in makers:
            try:
                maker(run)
                made += 1
            except LeftOut as reason:
                assert str(reason) and "\n" not in str(reason)
        summary.summary_of_run(run)
        return made

    run = coterie_files.open_run(folder)
    study, stats = run.study, run.stats
    study_makers = [figures_study.accuracy_against_kept, *figures_study.PLOTS]
    all_made = make(run, study_makers), make(run, figures_training.PLOTS)
    lost = 0
    for name in set(study.data_vars) - {"step"}:
        run.studies = {"study.h5": study.drop_vars(name)}
        lost += make(run, study_makers) < all_made[0]
    nothing_right = study.copy(deep=True)
    for name in nothing_right.data_vars:
        if name.startswith("accuracy"):
            nothing_right[name][...] = 0
    run.studies = {"study.h5": nothing_right}
    assert make(run, study_makers) > 0
    run.studies = {"study.h5": study}
    for name in set(stats.data_vars) - {"step"}:
        run.stats = stats.drop_vars(name)
        lost += make(run, figures_training.PLOTS) < all_made[1]
    run.stats, run.studies, run.metrics = None, {}, {}
    assert make(run, [*study_makers, *figures_training.PLOTS]) == 0
    assert lost > 10, "hardly any variable is needed"
    print(f"{len(study.data_vars) + len(stats.data_vars)} variables left out, one by one")


if __name__ == "__main__":
    {"page": check_page, "numbers": check_numbers, "table": check_table, "final": check_final,
     "narrow": check_narrow, "missing": check_missing}[sys.argv[1]](*sys.argv[2:])
