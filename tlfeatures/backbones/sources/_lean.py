"""torchvision without torch's compiler: importing it takes a tenth of the time.

`torchvision.ops.roi_align` has one question for `torch._dynamo`, asked when it is called; importing
that package for it takes most of a second. Here it is imported when the question comes.
"""

from __future__ import annotations

from tlfeatures._torch_private import without_compiler

with without_compiler():
    import torchvision
    import torchvision.models.feature_extraction

__all__ = ["torchvision"]
