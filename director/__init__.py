"""The long-lived coordinator: owns experiments and their durable state, never sees data, needs no torch."""
