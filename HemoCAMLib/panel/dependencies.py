"""Packages that an analysis needs and Slicer does not bring: what is missing, and installing it with consent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import slicer
from slicer.i18n import tr as _

from HemoCAMLib.errors import Cancelled, UsageError, WorkerFailed

#: Lower bounds of what the PyTorch extension installs.
TORCH = {"torch": "2.4", "torchvision": "0.19"}

#: Lower bounds of what pip installs.
PACKAGES = {"timm": "1.0.20", "safetensors": "0.4", "scikit-image": "0.22"}

#: What Slicer itself is built on: an installation that would replace one of these fails instead.
KEPT = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom")

EXTENSION = "PyTorch"

REQUESTER = "HemoCAM"


@dataclass(frozen=True)
class Missing:
    """What an analysis lacks; opening runs, thresholds, comparison and export need none of it.

    Attributes:
        torch: requirements of PyTorch that are not met.
        packages: other requirements that are not met.
        extension: whether the PyTorch extension, which installs torch, is there.
    """

    torch: tuple[str, ...]
    packages: tuple[str, ...]
    extension: bool

    def __bool__(self) -> bool:
        return bool(self.torch or self.packages)

    @property
    def sentence(self) -> str:
        """What is missing and what to do next, for the panel; empty where nothing is."""
        if self.torch and not self.extension:
            return str(
                _(
                    "PyTorch is not installed. Install the extension “PyTorch” with the Extensions Manager and restart "
                    "Slicer. Finished runs can be opened without it."
                )
            )
        if self:
            names = ", ".join(requirement.split(">=")[0] for requirement in (*self.torch, *self.packages))
            template = _(
                "Some Python packages are not installed: {names}. You will be asked before they are downloaded. "
                "Finished runs can be opened without them."
            )
            return str(template).format(names=names)
        return ""


def find_missing() -> Missing:
    """What is not installed, told from the packages' metadata: nothing is imported, nobody is asked on the network."""
    return Missing(_unmet(TORCH), _unmet(PACKAGES), _torch_utils() is not None)


def ensure_dependencies() -> None:
    """Installs what is missing, after asking; returns at once where nothing is, without network.

    Call it from a click, before the first analysis. It blocks behind Slicer's own progress dialog. In testing mode it
    installs nothing.

    Raises:
        UsageError: ``USAGE_NO_TORCH_EXTENSION``, the PyTorch extension is needed first.
        Cancelled: ``CANCELLED``, the user declined.
        WorkerFailed: ``WORKER_INSTALL``, the installation failed, such as on a computer without network.
    """
    missing = find_missing()
    if not missing or _is_testing():
        return
    if missing.torch and not missing.extension:
        raise UsageError(
            "USAGE_NO_TORCH_EXTENSION",
            _("PyTorch is not installed, and an analysis needs it."),
            _("Install the extension “PyTorch” with the Extensions Manager and restart Slicer."),
        )
    before = _kept_versions()
    with _nothing_replaced(before) as constraints:
        if missing.torch:
            _install_torch()
        if missing.packages:
            _install_packages(missing.packages, constraints)
    if _kept_versions() != before:
        raise WorkerFailed(
            "WORKER_INSTALL",
            _("The installation replaced a package that Slicer is built on."),
            _("Install Slicer anew, and tell the developers what was installed."),
            f"{before} became {_kept_versions()}",
        )
    left = find_missing()
    if left:
        raise _failed(f"still missing: {left.torch + left.packages}")


def install_torch_extension() -> None:
    """Installs the PyTorch extension from Slicer's own server, after asking; it is there after a restart.

    Raises:
        UsageError: ``USAGE_NO_TORCH_EXTENSION``, this application has no Extensions Manager.
        Cancelled: the user declined.
        WorkerFailed: ``WORKER_INSTALL``, it could not be downloaded.
    """
    model = getattr(slicer.app, "extensionsManagerModel", None)
    if model is None:
        raise UsageError(
            "USAGE_NO_TORCH_EXTENSION",
            _("This application has no Extensions Manager."),
            _("Install the Python packages torch and torchvision by hand."),
        )
    if not slicer.util.confirmOkCancelDisplay(
        _("The extension “PyTorch” will be downloaded from Slicer's server. Slicer has to be restarted after that."),
        windowTitle=REQUESTER,
    ):
        raise _declined()
    manager = model()
    manager.interactive = False
    if not manager.installExtensionFromServer(EXTENSION, False):
        raise _failed("the PyTorch extension was not installed")


def _is_testing() -> bool:
    return bool(slicer.app.testingEnabled())


def _unmet(bounds: dict[str, str]) -> tuple[str, ...]:
    import slicer.packaging

    wanted = (f"{name}>={bound}" for name, bound in bounds.items())
    return tuple(requirement for requirement in wanted if not slicer.packaging.pip_check(requirement))


def _torch_utils() -> Any:
    """The logic of the PyTorch extension; None where it is not installed."""
    if not hasattr(slicer.modules, "pytorchutils"):
        return None
    try:
        import PyTorchUtils  # type: ignore[import-not-found]
    except ImportError:
        return None
    return PyTorchUtils.PyTorchUtilsLogic()


def _install_torch() -> None:
    try:
        installed = _torch_utils().installTorch(
            askConfirmation=True,
            torchVersionRequirement=f">={TORCH['torch']}",
            torchvisionVersionRequirement=f">={TORCH['torchvision']}",
        )
    except (CalledProcessError, RuntimeError, ImportError, OSError) as error:
        raise _failed(str(error)) from error
    if installed is None:
        raise _declined()


def _install_packages(requirements: tuple[str, ...], constraints: Path) -> None:
    import slicer.packaging

    try:
        slicer.packaging.pip_ensure(list(requirements), constraints=constraints, requester=REQUESTER)
    except CalledProcessError as error:
        raise _failed(str(error)) from error
    except RuntimeError as error:
        raise _declined() from error


def _kept_versions() -> dict[str, str]:
    found = {}
    for name in KEPT:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@contextlib.contextmanager
def _nothing_replaced(versions: dict[str, str]) -> Iterator[Path]:
    """Within it pip, whoever starts it, refuses to replace what Slicer is built on."""
    before = os.environ.get("PIP_CONSTRAINT")
    with tempfile.TemporaryDirectory(prefix="hemocam-") as folder:
        path = Path(folder) / "constraints.txt"
        path.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()), encoding="utf-8")
        # The PyTorch extension passes no constraints on to pip. As an address, since pip splits the variable at spaces.
        os.environ["PIP_CONSTRAINT"] = " ".join(filter(None, (before, path.as_uri())))
        try:
            yield path
        finally:
            os.environ.pop("PIP_CONSTRAINT", None)
            if before is not None:
                os.environ["PIP_CONSTRAINT"] = before


def _declined() -> Cancelled:
    return Cancelled(
        "CANCELLED", _("Nothing was installed."), _("Press Analyse again when the packages may be installed.")
    )


def _failed(detail: str) -> WorkerFailed:
    return WorkerFailed(
        "WORKER_INSTALL",
        _("The Python packages could not be installed; perhaps this computer has no network."),
        _("Connect it and press Analyse again, or open finished runs, which need none of them."),
        detail,
    )
