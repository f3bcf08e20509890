"""Wrong calls, as users make them, get PyTorch's exception and words; doubtful ones get its warnings."""

from __future__ import annotations

import numpy as np
import pytest

import tritorch as torch
from tritorch import nn
from tritorch.nn import functional as F

R = torch.randn


def I(*values):  # noqa: E743, as short as what it makes
    return torch.tensor(list(values))


def G(*size):
    return torch.randn(*size, requires_grad=True)


def hooked(hook):
    x = G(2)
    x.register_hook(hook)
    x.sum().backward()


class Wrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return 1.0


class Saves(Wrong):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(1)
        return x * 2


CALLS = [
    (lambda: nn.Linear(4, 3).half()(R(2, 4)), RuntimeError, "mat1 and mat2 must have the same dtype, but got Float an"),
    (lambda: F.linear(R(2, 4), R(3, 4).double()), RuntimeError, "expected m1 and m2 to have the same dtype, but got:"),
    (lambda: F.linear(R(2, 4), R(3, 4), R(3).double()), RuntimeError, "self and mat2 must have the same dtype, but go"),
    (lambda: R(2, 3, 4) @ R(2, 4, 3).double(), RuntimeError, "expected scalar type Float but found Double"),
    (lambda: nn.Conv2d(3, 6, 3)(R(1, 3, 8, 8).long()), RuntimeError, "Input type (long int) and bias type (float) sho"),
    (lambda: nn.Conv2d(3, 6, 3)(R(4, 8, 8)), RuntimeError, "expected input[1, 4, 8, 8] to have 3 channels, but got 4"),
    (lambda: nn.LayerNorm(4)(R(2, 4).long()), RuntimeError, "mixed dtype (CPU): all inputs must share same datatype."),
    (lambda: nn.BatchNorm1d(3)(R(2, 3).long()), NotImplementedError, "\"batch_norm\" not implemented for 'Long'"),
    (lambda: F.cross_entropy(R(5), I(1, 2)), ValueError, "For 1D input, 1D target must have size 1, but got target si"),
    (lambda: F.cross_entropy(R(3, 5), R(3, 4)), RuntimeError, "0D or 1D target tensor expected, multi-target not supp"),
    (lambda: F.nll_loss(R(3, 5, 2, 2), I(0, 1, 2)), RuntimeError, "only batches of spatial targets supported (3D tens"),
    (lambda: F.nll_loss(R(3, 5, 2, 2), R(3, 2, 3).long()), RuntimeError, "size mismatch (got input: [3, 5, 2, 2] , ta"),
    (lambda: torch.zeros(), TypeError, 'zeros() missing 1 required positional arguments: "size"'),
    (lambda: torch.zeros(2, 2.5), TypeError, 'failed to unpack the object at pos 2 with error "type must be tuple of'),
    (lambda: torch.zeros("a"), TypeError, "zeros(): argument 'size' (position 1) must be tuple of ints, not str"),
    (lambda: torch.full(2, 1.0), TypeError, "full(): argument 'size' (position 1) must be tuple of ints, not int"),
    (lambda: torch.full((2,), "a"), TypeError, "full(): argument 'fill_value' (position 2) must be Number, not str"),
    (lambda: torch.eye(2.5), TypeError, "eye(): argument 'n' (position 1) must be int, not float"),
    (lambda: torch.eye(2, -1), RuntimeError, "m must be greater or equal to 0, got -1"),
    (lambda: torch.arange(), TypeError, "arange() received an invalid combination of arguments - got ()"),
    (lambda: torch.from_numpy(np.zeros(3)[::-1]), ValueError, "At least one stride in the given numpy array is negati"),
    (lambda: torch.softmax(R(2)), TypeError, 'softmax() missing 1 required positional arguments: "dim"'),
    (lambda: F.max_pool2d(R(1, 1, 4, 4)), TypeError, "missing 1 required positional argument: 'kernel_size'"),
    (lambda: torch.equal(R(2), 1), TypeError, "equal(): argument 'other' (position 2) must be Tensor, not int"),
    (lambda: R(2).reshape("a"), TypeError, "reshape(): argument 'shape' (position 2) must be tuple of ints, not str"),
    (lambda: torch.add(R(2), R(2), 3, 4), TypeError, "add() takes 2 positional arguments but 4 were given"),
    (lambda: torch.cat([R(2), 1]), TypeError, "expected Tensor as element 1 in argument 0, but got int"),
    (lambda: nn.Linear(4, 3)(np.zeros((2, 4))), TypeError, "argument 'input' (position 1) must be Tensor, not numpy.n"),
    (lambda: F.mse_loss(I(1, 2), I(1, 2)), NotImplementedError, "\"mse_cpu\" not implemented for 'Long'"),
    (lambda: F.mse_loss(R(3), R(3), weight=R(2)), ValueError, "Weights and input must have the same size."),
    (lambda: nn.BCEWithLogitsLoss()(R(2), I(0, 1)), RuntimeError, "result type Float can't be cast to the desired out"),
    (lambda: nn.MultiMarginLoss()(R(3, 4), I(0, 1)), RuntimeError, "multi_margin_loss: target tensor should be 1-D"),
    (lambda: nn.MultiLabelMarginLoss()(R(3, 4), R(3, 3).long()), RuntimeError, "inconsistent target size: [3, 3]"),
    (lambda: F.one_hot(I(0, 1), 1.0), TypeError, "one_hot(): argument 'num_classes' (position 2) must be int, not flo"),
    (lambda: nn.EmbeddingBag(5, 3)(I(1, 7), I(0)), RuntimeError, "Index 1 of input takes value 7 which is not in the"),
    (lambda: nn.utils.rnn.pad_sequence([R(3, 2), R(4, 3)]), RuntimeError, "(3) at non-singleton dimension 1"),
    (lambda: torch.tensor([1, "a"]), TypeError, "new(): invalid data type 'str'"),
    (lambda: torch.from_numpy(np.array(["a"])), TypeError, "can't convert np.ndarray of type numpy.str_. The only sup"),
    (lambda: torch.device("float32"), RuntimeError, "Invalid device string: 'float32'"),
    (lambda: torch.tensor(1.0).size(0), IndexError, "Dimension specified as 0 but tensor has no dimensions"),
    (lambda: R(3).size("a"), TypeError, "size(): argument 'dim' (position 1) must be int, not str"),
    (lambda: R(3).view(torch.float64), RuntimeError, "self.size(-1) must be divisible by 2 to view Float as Double"),
    (lambda: R(3).view(), TypeError, "view() received an invalid combination of arguments - got ()"),
    (lambda: torch.movedim(R(2, 3), (0, 0), (0, 1)), RuntimeError, "movedim: repeated dim in `source` ([0, 0])"),
    (lambda: torch.broadcast_shapes((3,), (2,)), RuntimeError, "Attempting to broadcast a dimension of length 2 at -1"),
    (lambda: torch.meshgrid(I(1), R(2), indexing="ij"), RuntimeError, "meshgrid expects all tensors to have the same"),
    (lambda: torch.add(I(1), I(2), alpha=0.5), RuntimeError, "For integral input tensors, argument alpha must not be"),
    (lambda: R(2).masked_fill(I(1, 0), 0), RuntimeError, "only supports boolean masks, but got mask with dtype long i"),
    (lambda: torch.promote_types(torch.float32, "a"), TypeError, "argument 'type2' (position 2) must be torch.dtype,"),
    (lambda: torch.take_along_dim(R(3, 3), I(0), dim=0), RuntimeError, "should have the same number of dimensions, bu"),
    (lambda: torch.manual_seed("a"), TypeError, "manual_seed(): argument 'seed' (position 1) must be int, not str"),
    (lambda: torch.set_grad_enabled("a"), TypeError, "set_grad_enabled(): argument 'enabled' (position 1) must be boo"),
    (lambda: nn.Linear(2, 2).requires_grad_("a"), TypeError, "argument 'requires_grad' (position 1) must be bool, not"),
    (lambda: R(2, 3)[::0], ValueError, "slice step cannot be zero"),
    (lambda: R(2, 3)["a":], TypeError, "slice indices must be integers or None or have an __index__ method"),
    (lambda: torch.tensor(1.0)[:], IndexError, "slice() cannot be applied to a 0-dim tensor."),
    (lambda: R(2, 3).__setitem__(0, None), TypeError, "can't assign a NoneType to a torch.FloatTensor"),
    (lambda: R(2, 3).__delitem__(0), TypeError, "Tensor does not support deleting items"),
    (lambda: torch.autograd.grad(G(2).sum(), []), RuntimeError, "`inputs` argument to `grad()` cannot be empty."),
    (lambda: torch.autograd.grad(G(2).sum(), "a"), RuntimeError, "all inputs have to be Tensors or GradientEdges, but"),
    (lambda: G(2).sum().backward(inputs=[]), RuntimeError, "`inputs` argument to `backward()` cannot be empty."),
    (lambda: setattr(G(2), "grad", R(3)), RuntimeError, "attempting to assign a gradient of size '[3]' to a tensor of"),
    (lambda: setattr(G(2), "data", 1), TypeError, "Variable data has to be a tensor, but got int"),
    (lambda: hooked(lambda grad: R(3)), RuntimeError, "hook '<lambda>' has changed the size of value"),
    (lambda: hooked(lambda grad: 1), TypeError, "expected Variable, but hook returned 'int'"),
    (lambda: Wrong.apply(G(2)).sum().backward(), RuntimeError, "expected Variable or None (got float)"),
    (lambda: Wrong()(G(2)), RuntimeError, "Legacy autograd function with non-static forward method is deprecated."),
    (lambda: Saves.apply(G(2)), TypeError, "save_for_backward can only save variables, but argument 0 is of type int"),
    (lambda: nn.utils.clip_grad_value_([R(2)], "a"), ValueError, "could not convert string to float: 'a'"),
    (lambda: nn.Hardtanh(1, -1), AssertionError, "max_val (-1) must be greater than min_val (1)"),
    (lambda: F.pad(R(3), (1, 1), mode="reflect"), NotImplementedError, "  - 2D or 3D input: padding size = 2 (pads la"),
    (lambda: F.pad(R(2), 1), TypeError, "pad(): argument 'pad' (position 2) must be tuple of ints, not int"),
    (lambda: nn.MultiheadAttention(4, 2)(R(3, 2, 4), *[R(5, 3, 4)] * 2), RuntimeError, "shape '[5, 4, 2]' is invalid"),
    (lambda: F.scaled_dot_product_attention(*[R(2, 3, 4)] * 3, R(4, 4)), RuntimeError, "The size of tensor a (3) must"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, words", CALLS, ids=[words for _, _, words in CALLS])
def test_a_wrong_call_says_what_pytorch_says(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


def read_only():
    array = np.zeros(3)
    array.flags.writeable = False
    return array


DOUBTFUL = [
    (lambda: torch.tensor(R(2)), UserWarning, "rather than torch.tensor(sourceTensor)"),
    (lambda: R(2).new_tensor(R(2)), UserWarning, "rather than tensor.new_tensor(sourceTensor)"),
    (lambda: torch.from_numpy(read_only()), UserWarning, "The given NumPy array is not writable"),
    (lambda: torch.frombuffer(b"abcd", dtype=torch.uint8), UserWarning, "The given buffer is not writable"),
    (lambda: torch.range(0, 3), UserWarning, "torch.range is deprecated"),
    (lambda: torch.chain_matmul(R(2, 3), R(3, 2)), UserWarning, "torch.chain_matmul is deprecated"),
    (lambda: torch.meshgrid(R(2), R(3)), UserWarning, "it will be required to pass the indexing argument"),
    (lambda: R(2, 3, 4).T, UserWarning, "The use of `x.T` on tensors of dimension other than 2"),
    (lambda: torch.tensor(1.0).T, UserWarning, "Tensor.T is deprecated on 0-D tensors."),
    (lambda: R(1).std(), UserWarning, "std(): degrees of freedom is <= 0."),
    (lambda: torch.var_mean(R(2, 1), 1), UserWarning, "var_mean(): degrees of freedom is <= 0."),
    (lambda: R(2, 3)[I(1, 0).to(torch.uint8)], UserWarning, "indexing with dtype torch.uint8 is now deprecated"),
    (lambda: float(G(1)), UserWarning, "Converting a tensor with requires_grad=True to a scalar"),
    (lambda: (G(2) * 2).grad, UserWarning, "The .grad attribute of a Tensor that is not a leaf Tensor is being access"),
    (lambda: G(2).sum().backward(create_graph=True), UserWarning, "Using backward() with create_graph=True will creat"),
    (lambda: torch.autograd.grad((x := G(2)).sum(), x, only_inputs=False), FutureWarning, "only_inputs argument is de"),
    (lambda: torch.autograd.backward([G(1)], grad_variables=[R(1)]), FutureWarning, "`grad_variables` is deprecated."),
    (lambda: F.grid_sample(R(1, 1, 4, 4), R(1, 2, 2, 2)), UserWarning, "Default grid_sample and affine_grid behavior"),
    (lambda: F.affine_grid(R(1, 2, 3), (1, 1, 4, 4)), UserWarning, "Default grid_sample and affine_grid behavior has"),
    (lambda: F.dropout3d(R(2, 2)), UserWarning, "dropout3d: Received a 2-D input to dropout3d, which is deprecated"),
    (lambda: nn.Hardtanh(min_value=0), FutureWarning, "keyword argument `min_value` is deprecated and renamed to"),
]  # fmt: skip


@pytest.mark.parametrize("call, kind, words", DOUBTFUL, ids=[words for _, _, words in DOUBTFUL])
def test_a_doubtful_call_warns_as_pytorch_does(call, kind, words):
    with pytest.warns(kind) as caught:
        call()
    assert [words in str(each.message) for each in caught] == [True]
    assert caught[0].filename == __file__  # the user's line, not one of ours
