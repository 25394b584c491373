"""Name the include lines that go up, sideways or to another layer's library.

    layers.py SOURCE-FOLDER

It reads every file of src/ and include/coterie/. A header of include/coterie/ belongs to the layer
that holds the .c file of its name. Exit code 1 when a line is wrong.
"""
import re
import sys
from pathlib import Path

# The higher may include the lower; layers of one height know nothing of each other.
HEIGHT = {"base": 0, "math": 1, "comm": 1, "io": 2, "param": 3, "moe": 4, "data": 5, "optim": 5,
          "model": 5, "special": 6, "run": 7, "cli": 8}

# Public headers without a .c file of their name.
HOMES = {"real": "base", "slots": "moe", "h5": "io", "data_summary": "data", "checkpoint": "run"}

# Library header -> the files that may include it.
CONFINED = {
    "hdf5.h": lambda layer, name: layer == "io",
    "cblas.h": lambda layer, name: (layer, name) == ("math", "blas.c"),
    "mpi.h": lambda layer, name: layer not in ("base", "math") and not knows_no_ranks(layer, name),
}
UMBRELLA = "coterie.h"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def knows_no_ranks(layer, name):
    """The router and the experts are tested alone; only the exchange between them communicates."""
    return layer == "moe" and name.split(".")[0] in ("router", "expert_bank")


class Tree:
    def __init__(self, root):
        self.root = root
        self.src = root / "src"
        self.public = root / "include" / "coterie"
        self.problems = []

    def layer_of_header(self, name):
        """The layer of include/coterie/<name>, or None after saying why there is none."""
        stem = name.removesuffix(".h")
        homes = [path.parent.name for path in self.src.glob(f"*/{stem}.c")]
        homes = [home for home in homes if home != "cli"]  # commands have no public headers
        homes += [HOMES[stem]] if stem in HOMES and not homes else []
        if len(homes) == 1:
            return homes[0]
        found = " and ".join(homes) if homes else "nowhere"
        self.problems.append(f"include/coterie/{name}: its .c file is {found}; it must be in one "
                             f"layer (or name the header in HOMES of layers.py)")
        return None

    def target_layer(self, path, bracket, target):
        """The layer that an include line leads to; None for a header from outside."""
        if target.startswith("coterie/"):
            return self.layer_of_header(target.removeprefix("coterie/"))
        if bracket == "<":
            return None
        if (path.parent / target).is_file():
            return path.parent.name
        if (self.src / target).is_file():
            return target.split("/")[0]
        where = path.relative_to(self.root)
        self.problems.append(f"{where}: includes \"{target}\", which is not under src/")
        return None

    def check_line(self, path, layer, bracket, target):
        where = path.relative_to(self.root)
        if target in CONFINED and not CONFINED[target](layer, path.name):
            self.problems.append(f"{where}: layer {layer} must not include <{target}> here")
        if target in ("coterie/comm.h", "coterie/exchange.h") and knows_no_ranks(layer, path.name):
            self.problems.append(f"{where}: includes <{target}>, but knows nothing of ranks")
        if target == f"coterie/{UMBRELLA}":
            self.problems.append(f"{where}: includes <{target}>, which is for users of the library")
            return
        other = self.target_layer(path, bracket, target)
        if other is not None and other != layer and HEIGHT[other] >= HEIGHT[layer]:
            way = "up" if HEIGHT[other] > HEIGHT[layer] else "sideways"
            self.problems.append(f"{where}: layer {layer} includes {target} of {other}: {way}")

    def check_file(self, path, layer):
        for bracket, target in INCLUDE.findall(path.read_text()):
            self.check_line(path, layer, bracket, target)

    def check_umbrella(self):
        """coterie.h includes every other public header."""
        if not (self.public / UMBRELLA).is_file():
            self.problems.append(f"include/coterie/{UMBRELLA}: missing")
            return
        included = {target for _, target in INCLUDE.findall((self.public / UMBRELLA).read_text())}
        names = {path.name for path in self.public.glob("*.h")} - {UMBRELLA}
        wanted = {f"coterie/{name}" for name in names}
        for target in sorted(wanted ^ included):
            what = "does not include" if target in wanted else "includes what is not there:"
            self.problems.append(f"include/coterie/{UMBRELLA}: {what} {target}")

    def check(self):
        files = 0
        for path in sorted(self.src.glob("**/*.[ch]")):
            layer = path.relative_to(self.src).parts[0]
            if layer not in HEIGHT:
                self.problems.append(f"{path.relative_to(self.root)}: '{layer}' is no layer")
                continue
            self.check_file(path, layer)
            files += 1
        for path in sorted(self.public.glob("*.h")):
            layer = None if path.name == UMBRELLA else self.layer_of_header(path.name)
            if layer is not None:
                self.check_file(path, layer)
            files += 1
        self.check_umbrella()
        return files


def main():
    tree = Tree(Path(sys.argv[1]))
    files = tree.check()
    for problem in dict.fromkeys(tree.problems):
        print(problem, file=sys.stderr)
    if files == 0:
        raise SystemExit(f"{sys.argv[1]}: no source files")
    print(f"{files} files, {len(set(tree.problems))} wrong include lines")
    return 1 if tree.problems else 0


if __name__ == "__main__":
    sys.exit(main())
