"""Runs Python programs, each in a process of its own that begins with slow modules imported.

Standard input has a line a program: the files that its standard output and error are appended to,
the program, its arguments, with tabs between. What it ends with is a line of standard output.
"""
import os
import runpy
import sys

import h5netcdf
import h5py
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import matplotlib.backends.backend_svg
import matplotlib.figure
import xarray

for line in sys.stdin:
    out, err, *sys.argv = line.rstrip("\n").split("\t")
    child = os.fork()
    if child == 0:
        for fd, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), fd)
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
