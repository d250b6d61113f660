"""The HTTP server: transport only. It asks the routing table for a model and the model for probabilities."""
