"""Speech: clips of one second and their keywords."""
