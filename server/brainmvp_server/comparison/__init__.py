"""Two times of one patient: what is new, gone, grown or shrunk, in numbers."""
