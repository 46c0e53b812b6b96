"""``python -m HemoCAMLib`` is the command ``hemocam``."""

from __future__ import annotations

import sys

from HemoCAMLib.cli import main

sys.exit(main())
