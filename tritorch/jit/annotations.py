"""The names of types that scripts import from here to annotate what TorchScript compiles."""

from __future__ import annotations

from typing import Any as Any
from typing import Dict as Dict  # noqa: UP035, scripts import the old names
from typing import List as List  # noqa: UP035
from typing import Optional as Optional
from typing import Tuple as Tuple  # noqa: UP035
from typing import Union as Union
