"""Write the bundle of a training, or describe one anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hemocam_training.bundle_export.card import model_card
from hemocam_training.bundle_export.checkpoint import Checkpoint
from hemocam_training.bundle_export.description import Description
from hemocam_training.bundle_export.self_check import SelfCheck, check_bundle
from hemocam_training.bundle_tuning.outcome import Tuning
from HemoCAMLib.errors import ModelRefused
from HemoCAMLib.model.bundle import ModelBundle, write_bundle
from HemoCAMLib.model.bundle_source import METADATA_MEMBER, WEIGHTS_MEMBER, open_source
from HemoCAMLib.model.metadata import BundleMetadata
from HemoCAMLib.model.registry import build_network
from HemoCAMLib.subtypes import SUBTYPE_NAMES

TrainingRange = Mapping[str, tuple[float, float]]

#: Thresholds of a bundle that was not tuned yet: the middle of each scale.
_UNTUNED_GATE, _UNTUNED_MASK = 0.5, {"absolute": 0.5, "per_image": 125.0}


def export_bundle(
    out: Path,
    checkpoint: Checkpoint,
    description: Description,
    *,
    tuning: Tuning | None = None,
    evaluations: Sequence[Mapping[str, Any]] = (),
    training_range: TrainingRange | None = None,
) -> tuple[ModelBundle, SelfCheck]:
    """Write a bundle with everything that belongs into it, and compare it with its checkpoint.

    Args:
        out: folder, or a zip where it ends in ``.zip``.
        checkpoint: network and weights.
        description: by its makers.
        tuning: thresholds, refinement, calibration; they were chosen on the weights as the bundle stores them, so a
            bundle is written, tuned, and written again.
        evaluations: summaries of :mod:`hemocam_training.evaluation`, for the figures and the card.
        training_range: of the training scans.

    Raises:
        DataRefused: ``TRAIN_EXPORT_DIFFERS``: the bundle does not give the checkpoint's numbers; it is not left there.
        UsageError: ``USAGE_TUNING_OTHER``: the tuning is of other weights.
        ModelRefused: the description or the weights break the rules of a bundle.
    """
    metadata = draft_metadata(checkpoint, description, training_range or {}, evaluations)
    draft = out.with_name(f".draft-{out.name}")
    try:
        bundle = write_bundle(draft, metadata, checkpoint.weights, half=description.half)
        checked = check_bundle(bundle, checkpoint)
        written = bundle.metadata
        written = replace(written, metrics={**written.metrics, "self_check": checked.as_dict()})
        if tuning is not None:
            written = with_tuning(tuning.applied(written), tuning)
        weights = _weights_file(bundle)
        found = write_bundle(out, written, weights, card=model_card(written))
    finally:
        _remove(draft)
    return found, checked


def describe_again(bundle: ModelBundle, metadata: BundleMetadata) -> ModelBundle:
    """The same weights with another description, and the card that follows from it."""
    return write_bundle(bundle.path, metadata, _weights_file(bundle), card=model_card(metadata))


def with_tuning(metadata: BundleMetadata, tuning: Tuning) -> BundleMetadata:
    """The description with the tuning's scans among the data, and its figures."""
    others = [entry for entry in metadata.training_data if entry.get("use") != "tuning"]
    source = tuning.source
    name = (
        "HemoCAM phantoms, tuning set" if source.get("kind") == "phantoms" else f"{source.get('dataset')}, tuning set"
    )
    licence = next((str(entry["licence"]) for entry in others if _same_set(entry, source)), "that of the data set")
    entry: dict[str, Any] = {
        "name": name,
        "licence": licence,
        "use": "tuning",
        "supervision": "class labels and masks choose thresholds, refinement, calibration and the smallest lesion, "
        "nothing else",
        "scans": source.get("scans", source.get("used")),
    }
    for key in ("first_seed", "dataset", "index_checksum"):
        if key in source and not (key == "dataset" and source.get("kind") == "phantoms"):
            entry[key] = source[key]
    figures = {"scans": source.get("used"), "leak_check": tuning.leak_check, **tuning.figures}
    return replace(metadata, training_data=(*others, entry), metrics={**metadata.metrics, "tuning": figures})


def with_evaluation(metadata: BundleMetadata, evaluation: Mapping[str, Any]) -> BundleMetadata:
    """The description with another evaluation, in place of one of the same title."""
    former = [one for one in metadata.metrics.get("evaluations", ()) if one.get("title") != evaluation.get("title")]
    return replace(metadata, metrics={**metadata.metrics, "evaluations": [*former, dict(evaluation)]})


def known_range(out: Path, weights_sha256: str = "") -> TrainingRange:
    """The training range of a bundle that is there already; empty where there is none."""
    try:
        metadata = ModelBundle.open(out).metadata
    except ModelRefused:
        return {}
    return metadata.training_range if weights_sha256 in ("", metadata.weights_sha256) else {}


def draft_metadata(
    checkpoint: Checkpoint,
    description: Description,
    training_range: TrainingRange,
    evaluations: Sequence[Mapping[str, Any]],
) -> BundleMetadata:
    """The description of a bundle before it is tuned: thresholds in the middle of their scales."""
    classes = checkpoint.classes
    subtypes = [name for name in classes if name in SUBTYPE_NAMES]
    network = build_network(checkpoint.architecture, checkpoint.arguments, len(classes))
    metrics: dict[str, Any] = {"training": {"stages": [dict(row) for row in checkpoint.history]}}
    if evaluations:
        metrics["evaluations"] = [dict(one) for one in evaluations]
    if description.limits:
        metrics["limits"] = list(description.limits)
    if description.observations:
        metrics["observations"] = list(description.observations)
    return BundleMetadata(
        name=description.name,
        version=description.version,
        description=description.description,
        intended_use=description.intended_use,
        architecture=checkpoint.architecture,
        arguments=checkpoint.arguments,
        subtypes=classes,
        input_size=(checkpoint.input_size, checkpoint.input_size),
        map_layer=str(network.map_layer),
        class_thresholds=dict.fromkeys(classes, _UNTUNED_GATE),
        mask_thresholds={scale: dict.fromkeys(subtypes, value) for scale, value in _UNTUNED_MASK.items()},
        window_center_hu=description.window_center_hu,
        window_width_hu=description.window_width_hu,
        mean=description.mean,
        std=description.std,
        training_data=counted(description.training_data, checkpoint.scans),
        metrics=metrics,
        training_range=training_range,
        authors=description.authors,
        copyright=description.copyright,
        changelog=description.changelog,
    )


def counted(sets: Sequence[Mapping[str, Any]], scans: int | None) -> tuple[dict[str, Any], ...]:
    """The sets of a training; where there is one, with the number of scans that the training itself counted."""
    trained_on = [one for one in sets if "first_seed" in one and one.get("use", "training") == "training"]
    alone = trained_on[0] if len(trained_on) == 1 and scans else None
    return tuple({**one, "scans": scans} if one is alone else dict(one) for one in sets)


def _same_set(entry: Mapping[str, Any], source: Mapping[str, Any]) -> bool:
    return (
        ("first_seed" in entry) if source.get("kind") == "phantoms" else entry.get("dataset") == source.get("dataset")
    )


def _weights_file(bundle: ModelBundle) -> bytes:
    return open_source(bundle.path).read(WEIGHTS_MEMBER)


def _remove(draft: Path) -> None:
    """The files that :func:`write_bundle` makes, and nothing else."""
    if draft.is_dir():
        for member in (METADATA_MEMBER, WEIGHTS_MEMBER):
            (draft / member).unlink(missing_ok=True)
            (draft / member).parent.rmdir()
        draft.rmdir()
    else:
        draft.unlink(missing_ok=True)
