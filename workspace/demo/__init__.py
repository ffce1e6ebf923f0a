"""``make demo``: a whole federation on this machine, from spoken words that it makes itself to a measured model."""
