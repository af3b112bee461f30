"""Where frames come from: files in a folder or an archive, laid out in one of several ways, indexed as clips."""
