"""Trains a model on a file of customers and writes it as a bundle. Never imported by `serve`."""
