"""From a table to many videos: rows, template, queue, runner, manifest and report."""
