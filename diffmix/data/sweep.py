"""Swept data sets read back: dry and wet sound with the controls that lie between them."""
