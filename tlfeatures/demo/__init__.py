"""The demo: the main job on data and a network that come with the package.

Promises the same pictures, codes and figures on every run, without network access.
Must not know how codes, heads or pages are made: it calls the public functions below it.
"""
