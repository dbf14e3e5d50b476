"""Style transfer: making one recording sound as another does.

What was done to the reference is judged by listening (`diffmix.estimators.translator`), how much of it is done follows
from what may be expected of it (`decision`), and knobs are fitted to the curves (`knobs`).
"""

from diffmix.transferring.assistant import transfer
from diffmix.transferring.describing import describe
from diffmix.transferring.result import Belief, Transfer
from diffmix.transferring.style import Reference, Style

__all__ = ["Belief", "Reference", "Style", "Transfer", "describe", "transfer"]
