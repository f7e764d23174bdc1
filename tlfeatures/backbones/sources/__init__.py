"""Where networks come from: torchvision, timm, one's own, the embedded one.

Only `backbones` looks in here.
"""
