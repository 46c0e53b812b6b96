"""How a command ends: its exit code, and one sentence instead of a traceback."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

import typer

from HemoCAMLib.errors import Cancelled, HemoCAMError, UsageError, WorkerFailed


def run_command(arguments: list[str], app: typer.Typer | None = None, program: str = "hemocam") -> int:
    """Runs one command line and gives its exit code.

    With ``--json`` an error is also an object ``{"error": {"code", "message", "advice"}}`` on standard output.

    Args:
        arguments: without the program's name.
        app: the commands; None for those of ``hemocam``.
        program: its name, for messages.
    """
    from HemoCAMLib.cli.streams import accept_any_text, drop_stdout

    accept_any_text()
    as_json, debug = "--json" in arguments, "--debug" in arguments
    try:
        code = typer.main.get_command(app or _own_commands()).main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except HemoCAMError as error:
        return _report(error, as_json, debug)
    except (KeyboardInterrupt, typer.Abort):
        return _report(Cancelled("CANCELLED", "Cancelled."), as_json, debug)
    except BrokenPipeError:
        drop_stdout()
        return 0
    except Exception as error:
        # Typer's usage errors; newer releases carry their own copy of click, so the class has no common name.
        if hasattr(error, "format_message") and hasattr(error, "show"):
            return _report_usage(error, as_json, program)
        return _report(_unexpected(error, debug, program), as_json, debug)


def _own_commands() -> typer.Typer:
    from HemoCAMLib.cli.app import app

    return app


def _report(error: HemoCAMError, as_json: bool, debug: bool) -> int:
    from rich.text import Text

    from HemoCAMLib.cli.streams import messages, write_json

    line = Text.assemble(("Error: ", "bold red"), str(error), (f" [{error.code}]", "dim"))
    messages().print(line)
    if debug:
        if error.detail:
            messages().print(Text(error.detail))
        messages().print(Text("".join(traceback.format_exception(error))))
    if as_json:
        fields = error.as_dict()
        if not debug:
            del fields["detail"]
        write_json({"error": fields})
    return error.exit_code


def _report_usage(error: Exception, as_json: bool, program: str) -> int:
    from HemoCAMLib.cli.streams import write_json

    error.show()  # type: ignore[attr-defined]
    if as_json:
        message = error.format_message()  # type: ignore[attr-defined]
        write_json({"error": {"code": "USAGE_COMMAND_LINE", "message": message, "advice": f"See {program} --help."}})
    return UsageError.exit_code


def _unexpected(error: Exception, debug: bool, program: str) -> HemoCAMError:
    """What HemoCAM did not foresee, with its traceback in a log of its own."""
    text = "".join(traceback.format_exception(error))
    advice = f"Run it again with “{program} --debug …” to see where."
    if not debug:
        try:
            handle, path = tempfile.mkstemp(prefix="hemocam-", suffix=".log")
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as log:
                log.write(text)
            advice = f"The developers need this file: {path}"
        except OSError:
            pass
    failure = WorkerFailed("WORKER_FAILED", "Something failed that HemoCAM did not foresee.", advice)
    failure.__cause__ = error
    return failure
