"""Scores files of any size: streamed in chunks, a process a core, resumable after a kill."""
