"""Scores files of any size: streamed in chunks, resumable after a kill."""
