"""A scan to try HemoCAM on: synthetic, tilted, with hemorrhage whose volumes are known. Host side."""

from HemoCAMLib.sample.write import Sample, write_sample

__all__ = ["Sample", "write_sample"]
