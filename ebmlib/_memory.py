"""Memory that a training loop frees and needs again at the next step."""

import torch


def keep_freed_memory() -> None:
    """Let the C library keep freed blocks instead of handing them back to the system.

    glibc returns large blocks when they are freed and asks for them again at the next
    step, up to two thousand page faults and half of the time.  It stops doing so for
    blocks up to the largest mapped one that it has seen freed, of at most 32 MB.  This
    maps one and frees it, untouched, so that it costs no memory.  With another C
    library nothing happens.
    """
    torch.empty(31 << 20, dtype=torch.uint8)
