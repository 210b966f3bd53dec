"""Inside the model: activations, probes, the board that it believes in."""
