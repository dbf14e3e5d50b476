"""The mixing console: a template for graphs, with one control vector per track and one each for buses and master.

track -> strip -> fader -> pan (mono) or image (stereo) -+-> group or master
                                                         +-> sends -> buses -> master
group -> chain -> fader -> image -+-> master
                                  +-> sends
"""

from diffmix.console._console import Console
from diffmix.console._layout import (
    BUSES,
    DESK,
    ENDS,
    MASTER,
    MUTED_DB,
    SEND,
    SENDS,
    STRIP,
    WET,
    WORKING_LEVEL_LUFS,
    Controls,
    DeskValues,
    Limits,
    Specs,
    Stages,
    Tracks,
    fits,
    kinds,
    shipped,
    track_loudness,
)

__all__ = [
    "BUSES",
    "DESK",
    "ENDS",
    "MASTER",
    "MUTED_DB",
    "SEND",
    "SENDS",
    "STRIP",
    "WET",
    "WORKING_LEVEL_LUFS",
    "Console",
    "Controls",
    "DeskValues",
    "Limits",
    "Specs",
    "Stages",
    "Tracks",
    "fits",
    "kinds",
    "shipped",
    "track_loudness",
]
