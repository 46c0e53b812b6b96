"""Between MRML and the engine: volume nodes in, results out, corrections back. No qt, no scene of its own.

Scenes, nodes and the DICOM database's look-up are handed in. Importing this package imports neither vtk nor slicer.
What takes long is also there in small steps, under the same name with ``_steps`` at its end
(:mod:`HemoCAMLib.scene.steps`).
"""

from HemoCAMLib.scene.agreement_table import write_agreement_table, write_slice_agreement_table
from HemoCAMLib.scene.analysis_input import AnalysisInput, analysis_input, analysis_input_steps, frame_in_job
from HemoCAMLib.scene.edited import (
    corrected,
    corrected_steps,
    measure,
    measure_steps,
    midline_of,
    refresh_tables,
)
from HemoCAMLib.scene.focus import largest_bleed_ras, largest_bleed_steps, place_of
from HemoCAMLib.scene.heat_maps import HeatMaps, show_above
from HemoCAMLib.scene.input_notes import InputNote
from HemoCAMLib.scene.node_hu import hu_of_node
from HemoCAMLib.scene.overlap import add_overlap, add_overlap_steps
from HemoCAMLib.scene.placement import Placement, place_run
from HemoCAMLib.scene.read_back import (
    guess_mapping,
    guess_mapping_steps,
    read_segmentation_node,
    read_segmentation_node_steps,
)
from HemoCAMLib.scene.record import Record
from HemoCAMLib.scene.result_folder import BelongingsWatch
from HemoCAMLib.scene.run_archive import keep_run, keep_run_steps, restore_run
from HemoCAMLib.scene.run_stream import RunStream
from HemoCAMLib.scene.scene_result import SceneResult
from HemoCAMLib.scene.segmentation_writer import SegmentationWriter, new_segmentation_node
from HemoCAMLib.scene.steps import Steps, finish, in_background
from HemoCAMLib.scene.volume_grid import VolumeGrid

__all__ = [
    "AnalysisInput",
    "BelongingsWatch",
    "HeatMaps",
    "InputNote",
    "Placement",
    "Record",
    "RunStream",
    "SceneResult",
    "SegmentationWriter",
    "Steps",
    "VolumeGrid",
    "add_overlap",
    "add_overlap_steps",
    "analysis_input",
    "analysis_input_steps",
    "corrected",
    "corrected_steps",
    "finish",
    "frame_in_job",
    "guess_mapping",
    "guess_mapping_steps",
    "hu_of_node",
    "in_background",
    "keep_run",
    "keep_run_steps",
    "largest_bleed_ras",
    "largest_bleed_steps",
    "measure",
    "measure_steps",
    "midline_of",
    "new_segmentation_node",
    "place_of",
    "place_run",
    "read_segmentation_node",
    "read_segmentation_node_steps",
    "refresh_tables",
    "restore_run",
    "show_above",
    "write_agreement_table",
    "write_slice_agreement_table",
]
