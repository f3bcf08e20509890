"""Sends and receives between two ranks."""

from __future__ import annotations

from tritorch.distributed.collectives import _back, _finish, _one, _outside, _root, _whole
from tritorch.distributed.group import get_global_rank, resolve


def isend(tensor, dst=None, group=None, tag=0, group_dst=None):
    """Start to send `tensor` to rank `dst`; returns the Work."""
    group = resolve(group)
    if _outside(group, "isend"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    return _finish(engine, engine.send(_whole(tensor.array), _root(group, dst, group_dst), tag), [], True)


def irecv(tensor, src=None, group=None, tag=0, group_src=None):
    """Start to receive from rank `src`, or from any, into `tensor`; returns the Work."""
    group = resolve(group)
    if _outside(group, "irecv"):
        return None
    engine = group.engine(_one(tensor, "tensor").device)
    source = None if src is None and group_src is None else _root(group, src, group_src)
    array = _whole(tensor.array)
    return _finish(engine, engine.receive(array, source, tag, _back(tensor, array)), [tensor], True)


def send(tensor, dst=None, group=None, tag=0, group_dst=None):
    """Send `tensor` to rank `dst`."""
    work = isend(tensor, dst, group, tag, group_dst)
    if work is not None:
        work.wait()


def recv(tensor, src=None, group=None, tag=0, group_src=None):
    """Receive from rank `src`, or from any, into `tensor`; returns the sender's rank, or -1 outside the group."""
    work = irecv(tensor, src, group, tag, group_src)
    if work is None:
        return -1
    work.wait()
    return get_global_rank(group, work.source)


class P2POp:
    """One send or receive for batch_isend_irecv; `op` is isend or irecv."""

    def __init__(self, op, tensor, peer=None, group=None, tag=0, group_peer=None):
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be of type ``isend`` or ``irecv``.")
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer


def batch_isend_irecv(p2p_op_list):
    """Start several sends and receives; returns a Work for each."""
    if not p2p_op_list or not all(isinstance(each, P2POp) for each in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to to be of type ``P2POp``.")
    first = p2p_op_list[0]
    with resolve(first.group).engine(first.tensor.device).together():
        return [each.op(each.tensor, each.peer, each.group, each.tag, each.group_peer) for each in p2p_op_list]
