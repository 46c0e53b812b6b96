"""Networks that stay loaded between runs."""

from __future__ import annotations

from HemoCAMLib.model.bundle import ModelBundle
from HemoCAMLib.model.openvino_trunk import OpenVinoTrunk
from HemoCAMLib.model.registry import Network, load_network
from HemoCAMLib.run.compute import Compute


class NetworkCache:
    """Keeps the network that was used last, per device; loading another one lets go of it.

    One network is kept, not many: a second model in a warm worker must not double its memory.
    """

    def __init__(self) -> None:
        self._key: tuple[str, str] | None = None
        self._network: Network | None = None
        self._trunk_key: Compute | None = None
        self._trunk: OpenVinoTrunk | None = None

    def holds(self, bundle: ModelBundle) -> bool:
        """Whether the bundle's network is loaded, so that its file need not be read again."""
        return self._key is not None and self._key[0] == bundle.metadata.weights_sha256

    def get(self, bundle: ModelBundle, device: str) -> Network:
        """The bundle's network on a device, in evaluation mode; loaded only where it is not there yet."""
        key = (bundle.metadata.weights_sha256, device)
        if self._network is None or self._key != key:
            self._network, self._key, self._trunk = None, None, None
            self._network = load_network(bundle, device)
            self._key = key
        return self._network

    def openvino_trunk(self, bundle: ModelBundle, compute: Compute) -> OpenVinoTrunk:
        """The trunk of the bundle's network, compiled by OpenVINO; kept as long as the network.

        Raises:
            UsageError: OpenVINO cannot run it (``USAGE_BACKEND``, ``USAGE_PRECISION``).
        """
        network = self.get(bundle, compute.device)
        if self._trunk is None or self._trunk_key != compute:
            self._trunk = None
            self._trunk = OpenVinoTrunk(
                network,
                bundle.metadata.input_size,
                batch_size=compute.batch_size,
                precision=compute.precision,
                threads=compute.threads,
            )
            self._trunk_key = compute
        return self._trunk
