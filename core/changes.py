"""What unlearning changed, tensor by tensor: how far after lies from before, beside how large before is."""

from __future__ import annotations

import pandas as pd

from core.adapters import Adapters


def changes(adapters: Adapters, before: str = "before", after: str = "after") -> pd.DataFrame:
    """Return one row an adapter tensor, in grid order: name, norm_before, norm_change, max_change.

    Norms are Frobenius norms, of before and of after − before; max_change is the largest absolute element of the
    latter. Outside the region the two are equal bit by bit, so both changes are exactly 0 there.
    """
    rows = []
    for cell in adapters.cells:
        start, end = (adapters.tensor(name, cell.name).detach().double() for name in (before, after))
        change = end - start
        rows.append(
            {
                "name": cell.name,
                "norm_before": float(start.norm()),
                "norm_change": float(change.norm()),
                "max_change": float(change.abs().max()),
            }
        )
    return pd.DataFrame(rows)
