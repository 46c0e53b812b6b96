"""``python -m hemocam_training.cli``, and what torchrun starts."""

from __future__ import annotations

import sys

from hemocam_training.cli import main

sys.exit(main())
