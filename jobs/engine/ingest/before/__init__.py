"""What ingest leaves out on request, before any recipe: contaminated samples, near duplicates, and too large shares.

    contamination ─► near duplicates ─► mix ─► settle: what repeats a sample shares its fate

Each step is Ray tasks over the interim files of the first pass, and looks at what the steps before it have left.
"""

from jobs.engine.ingest.before.steps import LeftOut, Steps, leave_out

__all__ = ["LeftOut", "Steps", "leave_out"]
