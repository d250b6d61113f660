"""Requests of any size, answered while they come: chunk by chunk, so that memory stays as it is."""
