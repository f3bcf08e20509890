"""Attention of few queries to many keys: when it is used, how it is launched, and its samples."""

from __future__ import annotations

import numpy as np

from tritorch.autotune import cdiv, next_power_of_2
from tritorch.ops.attention.decode_kernels import join_kernel, most_rows, split_kernel
from tritorch.ops.attention.kernels import settings_of
from tritorch.ops.layout import element_strides, empty_like

FEWEST_KEYS = 256  # with fewer, one program a head has nothing to share out
_MOST_PARTS_AT_A_TIME = 16  # that a program joins


def is_decoding(query, key, dropout_p, is_causal):
    """Whether few queries meet so many keys that these are shared out. A causal mask would leave few keys."""
    batch, heads, length, _ = query.shape
    rows, keys = heads // max(key.shape[1], 1) * length, key.shape[2]
    few = 0 < batch * rows and rows <= most_rows(query.itemsize)
    return few and keys >= max(FEWEST_KEYS, 4 * length) and not (dropout_p or is_causal)


def attend(query, key, value, mask, out, log_sum, scale, wide):
    """Write the result and the logarithms of the rows' sums: one launch, and another where there are several parts."""
    batch, heads, length, width = query.shape
    shared, keys, value_width = key.shape[1], key.shape[2], value.shape[3]
    constants, known = settings_of(query, key, value, mask, 0.0, False, wide)
    config = split_kernel.config(
        (query, key, value, mask), rows=heads // shared * length, heads=batch * shared,
        keys=next_power_of_2(keys),  # so that one more key, token after token, is no other launch to ask about
        **{name: known[name] for name in ("width", "value_width", "itemsize", "tensor_cores", "plain")},
        **{name: constants[name] for name in ("BOOLEAN", "WIDE", "PRECISION")},
    )  # fmt: skip
    columns, wanted = config["COLUMNS"], config["PARTS"]
    tiles = cdiv(cdiv(keys, wanted), columns)
    parts = cdiv(keys, tiles * columns)
    found, sums, strides = out, log_sum, (*element_strides(out), 0)
    if parts > 1:
        found = empty_like(log_sum, (parts, batch, heads, length, value_width))
        sums = empty_like(log_sum, (parts, *log_sum.shape))
        step, *inner = element_strides(found)
        strides = (*inner, step)
    split_kernel[(batch * shared * parts,)](
        query, key, value, mask, found, sums, heads, heads // shared, length, keys, width, value_width,
        *map(element_strides, (query, key, value)), (0, 0, 0, 0) if mask is None else element_strides(mask), strides,
        parts, tiles, scale, 0.0 if parts == 1 else -np.inf,
        **{name: value for name, value in constants.items() if name not in ("CAUSAL", "DROPOUT")},
        **{name: value for name, value in config.items() if name != "PARTS"},
    )  # fmt: skip
    if parts > 1:
        join_kernel[(batch * heads * length,)](
            found, sums, out, log_sum, heads, length, value_width, element_strides(out), parts,
            ACCUMULATE=constants["ACCUMULATE"], VALUE_WIDTH=constants["VALUE_WIDTH"],
            BLOCK=min(_MOST_PARTS_AT_A_TIME, next_power_of_2(parts)),
        )  # fmt: skip


def samples(draw):
    """What is shared out: one query, several, groups, masks of both kinds, parts that may attend nothing."""
    plain = (0.0, False, 0.35, 1, 0)
    yield draw(2, 2, 1, 8), draw(2, 2, 257, 8), draw(2, 2, 257, 5), None, *plain
    yield draw(1, 6, 3, 16), draw(1, 2, 300, 16), draw(1, 2, 300, 16), None, *plain
    keys, values = (draw(1, 300, 2, 8).transpose(0, 2, 1, 3) for _ in range(2))
    yield (
        draw(1, 3, 4, 8).transpose(0, 2, 1, 3),
        keys,
        values,
        np.broadcast_to(draw(1, 1, 3, 300), (1, 4, 3, 300)),
        *plain,
    )
    allowed = np.arange(260) < np.array([0, 3, 70, 260])[:, None]
    yield draw(1, 4, 1, 4), draw(1, 1, 260, 4), draw(1, 1, 260, 4), allowed[None, :, None], *plain
