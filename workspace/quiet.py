"""Silence for the learning libraries, whose progress bars and notes are not about what the user asked for."""

from __future__ import annotations

import warnings


def quiet_libraries() -> None:
    """Turn off transformers' and datasets' bars and notes in this process."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
