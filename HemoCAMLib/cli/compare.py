"""``hemocam compare``: one prediction against its truth, or a table of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.text import Text

from HemoCAMLib.cli.agreement_table import print_agreement, print_cohort
from HemoCAMLib.cli.streams import messages, output, write_json
from HemoCAMLib.errors import HemoCAMError, InputRefused, UsageError
from HemoCAMLib.measure.agreement import (
    OVERLAP_ONLY,
    Agreement,
    CompareOptions,
    compare,
    compare_cases,
    read_cases,
    write_agreement,
    write_cohort,
)
from HemoCAMLib.measure.agreement.cohort import Case
from HemoCAMLib.measure.agreement.figures import figures_possible
from HemoCAMLib.measure.agreement.mapping import read_mapping


def compare_from_command_line(
    prediction: Path | None,
    truth: Path | None,
    *,
    table: Path | None,
    mapping: str,
    prediction_mapping: str,
    out: Path | None,
    overlap_only: bool,
    lesion_iou: float,
    seed: int,
    as_json: bool,
) -> int:
    """Compares and prints; gives the exit code.

    Args:
        prediction: run folder or segmentation; None with a table.
        truth: segmentation; None with a table.
        table: CSV of cases.
        mapping: name of a data set, or JSON file; empty goes by names.
        prediction_mapping: the same for the prediction's labels; empty takes plain values for HemoCAM's own.
        out: folder for the results; None writes none.
        overlap_only: leave out distances, lesions and slices.
        lesion_iou: IoU from which lesions match; 0 matches by touch.
        seed: of the bootstrap.
        as_json: print the content of ``agreement.json`` or ``cohort.json`` instead of tables.

    Raises:
        HemoCAMError: a pair is refused, or the request makes no sense.
    """
    options = OVERLAP_ONLY if overlap_only else replace(CompareOptions(), lesion_minimum_iou=lesion_iou)
    if table is not None:
        if prediction is not None:
            raise UsageError("USAGE_COMPARE", "Give a table or a pair, not both.", "Leave out one of them.")
        return _compare_table(table, options, (mapping or None, prediction_mapping or None), out, seed, as_json)
    if prediction is None or truth is None:
        raise UsageError(
            "USAGE_COMPARE",
            "A prediction and a truth are needed.",
            "hemocam compare PREDICTION TRUTH, or --table FILE.",
        )
    agreement = compare(
        prediction, truth, mapping or None, prediction_mapping=prediction_mapping or None, options=options
    )
    if out is not None:
        write_agreement(agreement, out)
    if as_json:
        write_json(agreement.to_dict())
    else:
        print_agreement(agreement, output())
        if out is not None:
            output().print(Text(f"Written to {out}"))
    return 0


def _compare_table(
    table: Path,
    options: CompareOptions,
    mappings: tuple[str | None, str | None],
    out: Path | None,
    seed: int,
    as_json: bool,
) -> int:
    cases = read_cases(table)
    # A map that no case could use is refused before the first.
    for mapping in filter(None, mappings):
        read_mapping(mapping)
    # Rows per slice of every case would fill memory and are not kept.
    options = replace(options, slices=False)
    console = messages()

    def tell(case: Case, outcome: Agreement | HemoCAMError) -> None:
        done = f"Case {case.number} of {len(cases)}: "
        if isinstance(outcome, HemoCAMError):
            console.print(Text.assemble(done, ("refused. ", "red"), str(outcome), (f" [{outcome.code}]", "dim")))
        else:
            dice = outcome["any"].dice
            console.print(Text(done + ("both are empty" if dice is None else f"Dice {dice:.3f}")))

    cohort = compare_cases(
        cases, options=options, mapping=mappings[0], prediction_mapping=mappings[1], seed=seed, on_case=tell
    )
    files = write_cohort(cohort, out) if out is not None else []
    if as_json:
        write_json(cohort.to_dict())
    else:
        print_cohort(cohort, output())
        if out is not None:
            output().print(Text(f"Written to {out}: {', '.join(files)}"))
    if out is not None and not figures_possible():
        console.print(Text("No figures: matplotlib is missing. Install hemocam[figures]."))
    return InputRefused.exit_code if cohort.failed else 0
