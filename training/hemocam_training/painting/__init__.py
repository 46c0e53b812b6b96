"""Hemorrhages painted into negative slice stacks while a training goes on: no lesion is ever seen twice, and the same
anatomy comes with and without blood, so that nothing but the blood tells a positive slice from a negative one."""

from __future__ import annotations

from hemocam_training.painting.canvas import Canvas
from hemocam_training.painting.paint import PaintedStack, paint

__all__ = ["Canvas", "PaintedStack", "paint"]
