"""Collating by PyTorch's private names."""

from __future__ import annotations

from tritorch.utils.data.collate import collate as collate
from tritorch.utils.data.collate import collate_float_fn as collate_float_fn
from tritorch.utils.data.collate import collate_int_fn as collate_int_fn
from tritorch.utils.data.collate import collate_numpy_array_fn as collate_numpy_array_fn
from tritorch.utils.data.collate import collate_numpy_scalar_fn as collate_numpy_scalar_fn
from tritorch.utils.data.collate import collate_str_fn as collate_str_fn
from tritorch.utils.data.collate import collate_tensor_fn as collate_tensor_fn
from tritorch.utils.data.collate import default_collate as default_collate
from tritorch.utils.data.collate import default_collate_err_msg_format as default_collate_err_msg_format
from tritorch.utils.data.collate import default_collate_fn_map as default_collate_fn_map
from tritorch.utils.data.collate import default_convert as default_convert
