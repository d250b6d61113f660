"""The bundle: a directory that is the contract between training and serving. Files and their schema only."""
