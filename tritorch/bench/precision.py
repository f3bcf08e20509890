"""Both sides multiply equally, or are not compared."""

from __future__ import annotations

from contextlib import contextmanager

from tritorch.runtime import dtypes, precision


class UnlikePrecision(ValueError):
    """Two sides would compute in different precisions."""


@contextmanager
def multiplying(case, device, peer=None):
    """Inside, this library and a Peer multiply float32 as the case asks; an UnlikePrecision where they will not."""
    before = precision.get_float32_matmul_precision()
    precision.set_float32_matmul_precision("high" if case.tf32 else "highest")
    try:
        if peer is None:
            _check_products(case, device)
            yield
        else:
            with peer.multiplying(case.tf32):
                _check_products(case, device, peer)
                yield
    finally:
        precision.set_float32_matmul_precision(before)


def _check_products(case, device, peer=None):
    """Whether both sides are set to what the case asks for, which is read from them, not believed."""
    if case.stored is not dtypes.float32:
        return
    wanted = "tf32" if case.tf32 else "ieee"
    ours = precision.input_precision() if device.is_cuda else "ieee"
    if ours != wanted:
        raise UnlikePrecision(f"{case.name}: {wanted} was asked, tritorch multiplies float32 in {ours} on {device}")
    if peer is not None and peer.products(device) != ours:
        raise UnlikePrecision(
            f"{case.name}: tritorch multiplies float32 in {ours}, {peer.name} in {peer.products(device)}; "
            "they are not compared"
        )


def check_results(case, ours, theirs, peer):
    """Raise an UnlikePrecision where results have other dtypes."""
    names = [", ".join(dtypes.of(each.dtype).name for each in arrays) for arrays in (ours, theirs)]
    if names[0] != names[1]:
        raise UnlikePrecision(
            f"{case.name}: results of tritorch are {names[0]}, those of {peer.name} {names[1]}; they are not compared"
        )
