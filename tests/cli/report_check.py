"""What must be true of every report.

    report_check.py page FOLDER                 report.html is well-formed, needs nothing outside of
                                                itself, and every figure is there as PNG and PDF
    report_check.py numbers FOLDER STUDY        its headline and table say what the study says
    report_check.py table FOLDER                its table says what the studies in the folder say
    report_check.py final FOLDER                it says how well the run ended
    report_check.py words ANALYSIS FILES        captions are of the split and the loss at hand; what
                                                chance gives, and what is the most there can be
    report_check.py narrow CHROMIUM FOLDER...   at the width of a phone nothing sticks out
    report_check.py missing ANALYSIS FOLDER     without any one variable of its files, all is made
                                                but the figures that need it; and with no answer
                                                right
"""
import html
import json
import math
import re
import subprocess
import sys
import tempfile
from fractions import Fraction
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
        common = file["accuracy_common"][-1]
        experts = file["expert"].size
    enough = min(int(k) for k, value in zip(keeps, line) if value >= 0.99 * full)
    assert 1 < enough < experts, "made-up numbers that tell nothing"
    assert f"{enough} of {experts}" in words, f"{enough} of {experts} is not the headline"
    for value in (*line, *random, *common):
        assert f"{100 * value:.2f}%" in words, f"{value} is not in the table"
    assert np.isfinite(line).all()


def rows_of(folder):
    """The table beside the main figure: each row by its headings."""
    table = re.search(r"<table>(.*?)</table>", read(folder), flags=re.S)[1]
    texts = [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
             for row in re.findall(r"<tr>(.*?)</tr>", table, flags=re.S)]
    return [dict(zip(texts[0], row, strict=True)) for row in texts[1:]]


def qualities_of(folder):
    """Of a study: {selector: {K: accuracy, or share of the variance explained}}, and of all
    experts."""
    with h5py.File(Path(folder) / "study.h5") as file:
        name, good = ("accuracy", 1) if "accuracy" in file else ("relative_error", -1)
        found = {selector: dict(zip(file["keep"][...].tolist(),
                                    (good < 0) + good * file[f"{name}_{selector}"][-1]))
                 for selector in ("combine", "random_mean", "common")}
        return found, (good < 0) + good * file[name][-1]


def share_kept(studies, selector, keep):
    """The mean over the studies of the share of the full quality, as the table has it."""
    shares = [curves[selector].get(keep, np.nan) / full for curves, full in studies]
    return "–" if np.isnan(shares).any() else f"{100 * np.mean(shares):.1f}%"


def row_of_suite(row, studies):
    """What a suite's row ought to say; K are those that all of its studies have."""
    E = int(row["E"])
    keeps = set.intersection(*(set(curves["combine"]) for curves, _ in studies))
    mean = {k: np.mean([curves["combine"][k] for curves, _ in studies]) for k in keeps}
    enough = 0.99 * np.mean([full for _, full in studies])
    want = {"runs": str(len(studies)), "hidden units": f"{784 // E * E}", "parameters": f"{6 * E}",
            "K for 99%": str(min(k for k, value in mean.items() if value >= enough)),
            "same for all E/4": share_kept(studies, "common", E / 4)}
    for part in (8, 4, 2):
        want[f"at E/{part}"] = share_kept(studies, "combine", E / part)
        want[f"random E/{part}"] = share_kept(studies, "random_mean", E / part)
    return want


def check_table(folder):
    folder, seen = Path(folder), set()
    for row in rows_of(folder):
        if "E" in row:
            want = row_of_suite(row, [qualities_of(member)
                                      for member in sorted(folder.glob(f"e{row['E']}-s*"))])
        else:
            name = "of full" if "of full" in row else "of explained variance"
            want = {name: share_kept([qualities_of(folder)], "combine", int(row["K"]))}
        assert {name: row[name] for name in want} == want, f"{row}, not {want}"
        seen |= {name for name in want if want[name] != "–"}
    assert len(seen) >= (10 if "E" in row else 1), f"only {seen} was found"


def check_final(folder):
    lines = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
    value = [line["test_accuracy"] for line in lines if line["event"] == "epoch"][-1]
    tiles = read(folder).split("<figure")[0]
    assert f"{100 * value:.2f}%" in tiles, f"{value} is not at the top of the page"


def check_words(analysis, folder):
    sys.path.insert(0, analysis)
    import coterie_files
    import figures_study
    import figures_suite
    import figures_training
    import summary

    run, norm = (coterie_files.open_run(Path(folder) / name) for name in ("run", "norm"))
    assert norm.attributes["split"] == "validation", "the attributes are those of another study"
    table = summary.table_of_run(norm).caption
    assert table.startswith("Validation relative error"), table
    sharpness = figures_training.routing_sharpness(norm).reading
    assert "validation samples" in sharpness, sharpness
    for of, side in ((run, "Above the dashed"), (norm, "Below the dashed")):
        assert side in figures_study.choice_by_mass(of).reading
    norm.metrics = {}
    assert summary.summary_of_run(norm).tiles[0][1].startswith("validation"), "the split of a study"
    kept = figures_study.accuracy_against_kept
    assert "the same K for every sample" in kept(run).reading
    for seeds in (1, 2):
        suite = coterie_files.Suite(Path(folder), [run] * seeds)
        reading = figures_suite.share_of_accuracy_kept(suite).reading
        assert ("±1 sd over the seeds" in reading) == (seeds > 1), reading
    run.studies = {"study.h5": run.study.drop_vars("accuracy_common")}
    assert "the same K" not in kept(run).reading and "at random" in kept(run).reading
    for experts, most in ((16, "2.30"), (8, "2.08")):  # of 10 classes
        run.studies = {"study.h5": run.study.isel(expert=slice(experts))}
        assert summary.tiles_of_stats(run)[0][1].endswith(most), f"of {experts} experts"
    for experts, keep, samples in ((8, 2, 20), (8, 8, 20), (32, 8, 1000)):
        subsets = math.comb(experts, keep)
        want = subsets * (1 - Fraction(subsets - 1, subsets) ** samples)
        got, most = figures_study.subsets_by_chance(experts, keep, samples)
        assert abs(got / want - 1) < 1e-12 and most == min(subsets, samples), (experts, keep, got)
    for experts, keep in ((512, 256), (4096, 2048)):
        assert figures_study.subsets_by_chance(experts, keep, 10000) == (10000, 10000)


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
     "words": check_words, "narrow": check_narrow,
     "missing": check_missing}[sys.argv[1]](*sys.argv[2:])
