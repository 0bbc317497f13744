"""Uploads and downloads of large files, compared with curl."""
