"""Pure functions on tensors in physical units: the arithmetic of every processor.

Import the family you need, for example ``from diffmix.kernels.iir import sos_cascade``.
"""
