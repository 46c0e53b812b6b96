"""Everything that HemoCAM refuses or fails at, as one family with stable codes.

A code never changes its meaning once released: scripts, the panel and cohort tables branch on it.
The message is one sentence for a clinician, the advice says what to do next, the detail is for a log.
"""

from __future__ import annotations


class HemoCAMError(Exception):
    """A refusal or failure that the user can understand and act on.

    Args:
        code: stable identifier, upper case with underscores, such as ``CT_EMPTY_FOLDER``.
        message: one sentence without jargon, without patient data.
        advice: what to do next, one sentence; may be empty.
        detail: technical detail for the log, never shown by itself.
    """

    exit_code = 5

    def __init__(self, code: str, message: str, advice: str = "", detail: str = "") -> None:
        super().__init__(f"{message} {advice}".strip())
        self.code = code
        self.message = message
        self.advice = advice
        self.detail = detail

    def as_dict(self) -> dict[str, str]:
        """The error as it travels in events and files: ``code``, ``message``, ``advice``, ``detail``."""
        return {"code": self.code, "message": self.message, "advice": self.advice, "detail": self.detail}


class UsageError(HemoCAMError):
    """The request itself makes no sense (an unknown device, a folder that cannot be written)."""

    exit_code = 2


class InputRefused(HemoCAMError):
    """The scan cannot be measured honestly."""

    exit_code = 3


class ModelRefused(HemoCAMError):
    """The model bundle is damaged, unknown or unsafe."""

    exit_code = 4


class WorkerFailed(HemoCAMError):
    """The process that runs the network stopped, or could not be started."""

    exit_code = 5


class Cancelled(HemoCAMError):
    """The user asked to stop; what was computed stays in the run folder and can be resumed."""

    exit_code = 130


def out_of_memory() -> WorkerFailed:
    """The failure of a run for which the computer's memory is too small, however that showed."""
    return WorkerFailed(
        "WORKER_MEMORY", "The computer ran out of memory.", "Close other programs or choose a smaller batch."
    )


def error_from_dict(fields: dict[str, str]) -> HemoCAMError:
    """The error that :meth:`HemoCAMError.as_dict` described, with its class restored from the code's prefix."""
    families: dict[str, type[HemoCAMError]] = {
        "USAGE": UsageError,
        "CT": InputRefused,
        "TRUTH": InputRefused,
        "PREDICTION": InputRefused,
        "MODEL": ModelRefused,
        "WORKER": WorkerFailed,
        "CANCELLED": Cancelled,
    }
    code = fields.get("code", "WORKER_FAILED")
    family = families.get(code.split("_", 1)[0], HemoCAMError)
    return family(code, fields.get("message", ""), fields.get("advice", ""), fields.get("detail", ""))
