"""What data scientists use: client, simulation, and the experiments' learning code."""
