"""The phantom: random abdomens, scanned on several days, in the layout of UW-Madison GI.

The parts, from the outside in: `writer` names and writes files, `render` paints the slices of one
scan, `anatomy` the body and `hollow` the gut in it, whose course `bowel` lays out as `tubes`;
`scanner` adds what a scanner adds; `canvas` and `smooth_noise` are the brushes.
"""

from medseg.data.phantom.writer import write_phantom

__all__ = ["write_phantom"]
