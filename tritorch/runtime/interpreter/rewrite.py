"""The body of a kernel as Python runs it: Triton's rewriting of the syntax tree, in a private copy of the globals."""

from __future__ import annotations

import ast

from triton.runtime import interpreter as stock

# Names that the rewritten text refers to; which of them exist depends on the version of Triton.
_HELPERS = {
    name: getattr(stock, name) for name in ("interpreter_semantic", "_InterpreterComparison") if hasattr(stock, name)
}
_bodies: dict = {}  # function -> rewritten function


def body_of(kernel):
    """The rewritten function of a kernel or of one of Triton's own library functions."""
    body = _bodies.get(kernel.fn)
    if body is None:
        body = _bodies[kernel.fn] = _rewrite(kernel)
    return body


def _rewrite(kernel):
    function = kernel.fn
    tree = stock.FunctionRewriter.ast_transformer.visit(ast.parse(kernel.src))
    tree.body[0].decorator_list = []
    tree.body[0].returns = None
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, function.__code__.co_firstlineno + _lines_before_def(kernel) - 1)
    # Rewriting in the module's own globals would leave Triton's helper names there.
    names = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        names[name] = cell.cell_contents
    names.update(_HELPERS)
    found: dict = {}
    exec(compile(tree, function.__code__.co_filename, "exec", dont_inherit=True), names, found)
    return found[function.__name__]


def _lines_before_def(kernel):
    """How many lines decorators take."""
    lines = kernel.raw_src
    return next((at for at, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
