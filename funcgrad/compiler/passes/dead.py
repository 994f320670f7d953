"""Dead code: what no output and no effect needs. The same pass derives smaller programs for
transforms.
"""

from funcgrad.transforms.dce import drop_dead

__all__ = ["drop_dead"]
