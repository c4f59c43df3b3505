"""The phantom: random abdomens, scanned on several days, in the layout of UW-Madison GI.

The parts, from the outside in: `writer` names and writes files, `render` paints the slices of one
scan: `trunk` the body wall, `anatomy` the firm organs, `ends` chest and pelvis, `hollow` the gut,
whose course `bowel` lays out as `tubes`; `scanner` adds what a scanner adds. `sheet`, `canvas` and
`smooth_noise` are paper and brushes.
"""

from medseg.data.phantom.writer import is_phantom, write_phantom

__all__ = ["is_phantom", "write_phantom"]
