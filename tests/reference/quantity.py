"""Numbers to compare: what each should be, and how far from it rounding may take the program.

The program's weights and outputs are float32: with dot products of at most a few hundred terms and
logits up to 10 they are off by about 1e-6 of their size, means over samples by 2e-7. The tolerances
below are a few times that, for kernels that add in another order, and far below what a wrong
formula would make of any of these numbers.
What jumps where two numbers are almost the same (a place in a ranking, a predicted class) is
compared with a slack: what the samples amount to that are that close.
"""
import numpy as np

RELATIVE = 3e-6  # of means over samples
ABSOLUTE = 1e-7
# Two scores that differ by less than this part of their size may stand in either order.
CLOSE = 5e-6
# So many of the decisions that a number rests on may be that close; above, it says nothing.
UNSURE_SHARE = 0.05


class Quantity:
    """An expected array; `slack` adds to the tolerance, `relative` replaces the usual one."""

    def __init__(self, value, slack=0.0, relative=RELATIVE, absolute=ABSOLUTE):
        self.value = np.asarray(value, np.float64)
        self.slack = slack
        self.relative, self.absolute = relative, absolute

    def tolerance(self):
        size = np.where(np.isnan(self.value), 0.0, np.abs(self.value))
        return self.relative * size + self.absolute + self.slack


class Exact(Quantity):
    """Whole numbers and coordinates: no tolerance, but for the slack."""

    def __init__(self, value, slack=0.0):
        super().__init__(value, slack, relative=0.0, absolute=0.0)


class OneOf:
    """allowed [..., choices]: the value is the index of any choice that is allowed."""

    def __init__(self, allowed):
        self.allowed = np.asarray(allowed, bool)


def problem(got, want):
    """What is wrong with an array of the program, in words; None when nothing is."""
    got = np.asarray(got)
    if isinstance(want, OneOf):
        if got.shape != want.allowed.shape[:-1]:
            return f"shape {got.shape}, not {want.allowed.shape[:-1]}"
        if not np.take_along_axis(want.allowed, got[..., None], -1).all():
            return "not the largest"
        return None
    if got.shape != want.value.shape:
        return f"shape {got.shape}, not {want.value.shape}"
    if not np.array_equal(np.isnan(got), np.isnan(want.value)):
        return "NaN in other places"
    error = np.nan_to_num(np.abs(got - want.value))
    excess = error - want.tolerance()
    if not (excess > 0).any():
        return None
    at = np.unravel_index(excess.argmax(), excess.shape)
    where = f" at {[int(i) for i in at]}" if at else ""
    return (f"{got[at]:.9g}, reference {want.value[at]:.9g}{where}, off by {error[at]:.2e}, "
            f"allowed {np.broadcast_to(want.tolerance(), error.shape)[at]:.2e}")
