"""The papers' tables and figures, one command each: ``hemocam-train experiment NAME``.

An experiment is a module with a frozen dataclass ``Settings`` and a function ``run``; :mod:`.catalogue` lists them.
What all of them share: intervals over patients (:mod:`.bootstrap`), tables, figures and the page (:mod:`.reporting`).
"""
