"""A traced graph in which no operation changes a value that something else can see."""

from __future__ import annotations

import inspect
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

_OPERATORS = {
    getattr(operator, f"i{name}"): getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul")
}

#: What these return is new memory, so that its only user may write into it.
_MAKES_NEW = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm, nn.Linear)


def without_writing(graph: fx.Graph, root: nn.Module, in_one_piece: set[str]) -> None:
    """Rewrites in-place operations of a graph in place.

    An in-place activation right behind a convolution, normalisation or linear layer that nothing else reads stays
    as it is, which saves memory. Every other one becomes its ordinary twin, and what would have seen the changed
    value reads the twin's result. Modules that were kept in one piece get copies of their inputs.

    Args:
        graph: traced from ``root``.
        root: owner of the modules; their ``inplace`` flags are changed.
        in_one_piece: names of modules whose inside is unknown.
    """
    modules = dict(root.named_modules())
    writing: dict[str, list[fx.Node]] = {}
    for node in list(graph.nodes):
        if node.op == "call_module":
            module = modules[node.target]
            if node.target in in_one_piece:
                _copy_inputs(graph, node)
            elif isinstance(module, nn.Identity | nn.Dropout | nn.Dropout2d):
                # In evaluation mode these return their input itself.
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)
            elif getattr(module, "inplace", None) is True:
                writing.setdefault(node.target, []).append(node)
        elif node.op in ("call_function", "call_method"):
            _make_ordinary(node)
    for name, nodes in writing.items():
        if not all(_owns_its_input(node, modules) for node in nodes):
            modules[name].inplace = False
            for node in nodes:
                _let_later_ones_read(node)


def _owns_its_input(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    source = node.args[0]
    return (
        isinstance(source, fx.Node)
        and len(source.users) == 1
        and source.op == "call_module"
        and isinstance(modules[str(source.target)], _MAKES_NEW)
    )


def _make_ordinary(node: fx.Node) -> None:
    if node.op == "call_method":
        name = str(node.target)
        if name.endswith("_") and not name.endswith("__") and hasattr(Tensor, name[:-1]):
            node.target = name[:-1]
            _let_later_ones_read(node)
        return
    target: Any = node.target
    if target in _OPERATORS:
        node.target = _OPERATORS[target]
        _let_later_ones_read(node)
        return
    name = getattr(target, "__name__", "")
    for namespace in (torch, nn.functional):
        if name.endswith("_") and getattr(namespace, name, None) is target and hasattr(namespace, name[:-1]):
            node.target = getattr(namespace, name[:-1])
            _let_later_ones_read(node)
            return
    if _bound_inplace(node):
        _let_later_ones_read(node)


def _bound_inplace(node: fx.Node) -> bool:
    """Whether a call was made with ``inplace=True``; it is not any more."""
    if node.kwargs.get("inplace") is True:
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    if getattr(node.target, "__module__", "") != nn.functional.__name__ or not callable(node.target):
        return False
    names = list(inspect.signature(node.target).parameters)
    place = names.index("inplace") if "inplace" in names else len(node.args)
    if place < len(node.args) and node.args[place] is True:
        node.args = (*node.args[:place], False, *node.args[place + 1 :])
        return True
    return False


def _let_later_ones_read(node: fx.Node) -> None:
    """Whoever comes after the operation and reads its input reads its result instead."""
    changed = node.args[0] if node.args else None
    if not isinstance(changed, fx.Node):
        return
    later = node
    while later.op != "output":
        later = later.next
        if changed in later.all_input_nodes:
            later.replace_input_with(changed, node)


def _copy_inputs(graph: fx.Graph, node: fx.Node) -> None:
    with graph.inserting_before(node):
        for source in node.all_input_nodes:
            node.replace_input_with(source, graph.call_function(_copied, (source,)))


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
