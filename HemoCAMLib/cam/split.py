"""A network cut at layers: a trunk that runs once, and what follows each layer as a function of its output.

The network is traced with torch.fx. Operations that depend on a layer's output are its tail, everything else is
trunk. Values that reach the tail past the layer (skip connections) are computed once, in the trunk. A sub-module
that cannot be traced is kept in one piece and the trace tried again.

Nothing of the caller's network is touched: a copy is cut that shares its weights and is in evaluation mode, so
there are no hooks to leak, no flags to restore, and parameters never take gradients.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from HemoCAMLib.cam.light_backward import lighten, without_clones
from HemoCAMLib.cam.out_of_place import without_writing
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.model.encoders import notrace_functions, notrace_modules
from HemoCAMLib.model.heads import lse_pool


def keep(value: Tensor) -> Tensor:
    """Stands in the graph where a layer returns."""
    return value


def frozen_copy(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, with the same weights in memory, none of which takes gradients."""
    shared: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in network.parameters()}
    shared |= {id(buffer): buffer for buffer in network.buffers()}
    return copy.deepcopy(network, shared).eval()


@dataclass(frozen=True)
class TailGraph:
    """What follows one layer.

    Attributes:
        graph: called with A and the crossing values.
        crossing: positions of its crossing values in the trunk's output.
        batch_sizes: which of them are the batch's size, or a shape that begins with it.
    """

    graph: fx.GraphModule
    crossing: list[int]
    batch_sizes: frozenset[int]


@dataclass(frozen=True)
class SplitNetwork:
    """A network cut at layers.

    Attributes:
        trunk: stacks to a tuple: the output of each layer in order, then crossing values.
        tails: one for each layer.
        network: the whole network, frozen.
    """

    trunk: fx.GraphModule
    tails: list[TailGraph]
    network: nn.Module


def split(network: nn.Module, layers: Sequence[str]) -> SplitNetwork:
    """Cuts a network at layers.

    Args:
        network: takes one tensor [N, 3, H, W]; only its evaluation mode is looked at.
        layers: module names; a layer is its module's output, at the last call where it is called more than once.

    Raises:
        UsageError: ``USAGE_CAM_LAYER``: a layer lies inside a part that cannot be taken apart, does not run, gives
            no tensor, or does not reach the logits.
        ModelRefused: ``MODEL_NOT_TRACEABLE``.
    """
    frozen = frozen_copy(network)
    traced = _trace(frozen, layers)
    without_writing(traced.graph, frozen, traced.in_one_piece)
    tails = {name: _descendants(traced.layer_nodes[name]) for name in layers}
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    result = output.args[0]
    if not isinstance(result, fx.Node):
        raise _not_traceable("the network gives more than one tensor")
    for name in layers:
        if result not in tails[name] and result is not traced.layer_nodes[name]:
            raise _wrong_layer(name, "does not reach the class scores", "Choose a layer that they are computed from.")
    (stacks,) = (node for node in traced.graph.nodes if node.op == "placeholder")
    of_the_run = {stacks, *_descendants(stacks)}
    crossing = {name: _crossing(tails[name], result, of_the_run) for name in layers}
    constant = _ancestors([result]) - of_the_run
    kept = [traced.layer_nodes[name] for name in layers]
    for nodes in crossing.values():
        kept += [node for node in nodes if node not in kept]
    trunk = _subgraph(traced.graph, _ancestors(kept), {}, tuple(kept))
    return SplitNetwork(
        fx.GraphModule(frozen, trunk),
        [
            _tail(frozen, traced.layer_nodes[name], tails[name] | constant, crossing[name], kept, result)
            for name in layers
        ],
        frozen,
    )


@dataclass
class _Traced:
    graph: fx.Graph
    layer_nodes: dict[str, fx.Node]
    in_one_piece: set[str]


class _Tracer(fx.Tracer):
    """Notes where the wanted layers return, and which module was being called when something failed."""

    def __init__(self, layers: Sequence[str], pieces: set[type[nn.Module]]) -> None:
        functions = (lse_pool, *notrace_functions())
        super().__init__(autowrap_functions=functions, param_shapes_constant=False)
        self._layers = set(layers)
        self._pieces = pieces
        self._open: list[tuple[str, nn.Module]] = []
        self.failed: tuple[str, nn.Module] | None = None
        self.returned: dict[str, Any] = {}
        self.in_one_piece: set[str] = set()

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if type(module) in self._pieces:
            self.in_one_piece.add(qualified_name)
            return True
        # A container of torch's own is no operation; torch.fx itself looks into Sequential only.
        own = type(module) in (nn.Sequential, nn.ModuleList, nn.ModuleDict)
        return (not own and super().is_leaf_module(module, qualified_name)) or isinstance(module, notrace_modules())

    def call_module(
        self, module: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        name = self.path_of_module(module)
        self._open.append((name, module))
        try:
            returned = super().call_module(module, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self._open[-1]
            raise
        finally:
            self._open.pop()
        if name in self._layers:
            if isinstance(returned, fx.Proxy):
                returned = self.create_proxy("call_function", keep, (returned,), {})
            self.returned[name] = returned
        return returned


def _trace(frozen: nn.Module, layers: Sequence[str]) -> _Traced:
    pieces: set[type[nn.Module]] = set()
    while True:
        tracer = _Tracer(layers, pieces)
        try:
            graph = tracer.trace(frozen)
        except Exception as error:
            if tracer.failed is None or type(tracer.failed[1]) in pieces:
                raise _not_traceable(f"{type(error).__name__}: {error}") from error
            # What cannot be traced in one place cannot in another; a piece for each place would trace many times.
            pieces.add(type(tracer.failed[1]))
            continue
        break
    nodes: dict[str, fx.Node] = {}
    for name in layers:
        returned = tracer.returned.get(name)
        if isinstance(returned, fx.Proxy):
            nodes[name] = returned.node
        elif name in tracer.returned:
            raise _wrong_layer(name, "does not give one tensor", "Choose a module that gives a feature map.")
        else:
            raise _missing(name, graph)
    return _Traced(graph, nodes, tracer.in_one_piece)


def _missing(name: str, graph: fx.Graph) -> UsageError:
    for node in graph.nodes:
        if node.op == "call_module" and name.startswith(f"{node.target}."):
            return _wrong_layer(
                name,
                f"lies inside {node.target}, which could not be taken apart",
                f"Choose {node.target}, or a layer outside it.",
            )
    return _wrong_layer(name, "is not used when a slice is classified", "Choose another layer.")


def _descendants(start: fx.Node) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(start.users)
    while waiting:
        node = waiting.pop()
        if node not in found and node.op != "output":
            found.add(node)
            waiting.extend(node.users)
    return found


def _ancestors(ends: Sequence[fx.Node]) -> set[fx.Node]:
    found: set[fx.Node] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found


def _crossing(tail: set[fx.Node], result: fx.Node, of_the_run: set[fx.Node]) -> list[fx.Node]:
    """Values of the trunk that the tail uses on its way to the result, in the order of the network.

    What follows from parameters alone is no value of a run: the tail finds it itself.
    """
    needed = _ancestors([result])
    used = {source for node in tail & needed for source in node.all_input_nodes if source not in tail}
    return [node for node in result.graph.nodes if node in used & of_the_run]


def _tail(
    frozen: nn.Module,
    layer: fx.Node,
    nodes: set[fx.Node],
    crossing: list[fx.Node],
    kept: list[fx.Node],
    result: fx.Node,
) -> TailGraph:
    others = [node for node in crossing if node is not layer]
    inputs = {layer: "activations", **{node: f"crossing_{index}" for index, node in enumerate(others)}}
    graph = _subgraph(layer.graph, _ancestors([result]) & nodes, inputs, result)
    lighten(graph)
    sizes = frozenset(index for index, node in enumerate(others) if _is_batch_size(node))
    return TailGraph(fx.GraphModule(_for_gradients(frozen, graph), graph), [kept.index(node) for node in others], sizes)


def _for_gradients(frozen: nn.Module, graph: fx.Graph) -> dict[str, Any]:
    """What a tail's operations need, by name: modules of its own, with the same weights, and parameters."""
    needed: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.target not in needed:
            needed[node.target] = frozen_copy(frozen.get_submodule(node.target))
            without_clones(needed[node.target])
        elif node.op == "get_attr":
            needed[node.target] = operator.attrgetter(node.target)(frozen)
    return needed


def _subgraph(whole: fx.Graph, nodes: set[fx.Node], inputs: dict[fx.Node, str], result: Any) -> fx.Graph:
    """A graph of some nodes of another, in the same order; inputs become its placeholders."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {node: graph.placeholder(name) for node, name in inputs.items()}
    for node in whole.nodes:
        if node in nodes and node not in copies:
            copies[node] = graph.node_copy(node, lambda source: copies[source])
    graph.output(fx.map_arg(result, lambda node: copies[node]))
    graph.lint()
    return graph


def _is_batch_size(node: fx.Node) -> bool:
    if node.op == "call_function" and node.target is getattr and node.args[1] == "shape":
        return True
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] in ((), (0,))
    is_item = node.op == "call_function" and node.target is operator.getitem and bool(node.args[1] == 0)
    source = node.args[0] if is_item else None
    return isinstance(source, fx.Node) and _is_batch_size(source)


def _wrong_layer(name: str, what: str, advice: str) -> UsageError:
    return UsageError("USAGE_CAM_LAYER", f"The layer {name!r} {what}.", advice)


def _not_traceable(detail: str) -> ModelRefused:
    return ModelRefused(
        "MODEL_NOT_TRACEABLE",
        "Maps at inner layers cannot be made for this network, because it cannot be taken apart.",
        "Choose the network's own map layer, or another model.",
        detail[:500],
    )
