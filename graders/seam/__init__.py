"""The seam between a check and a student's function: requests, replies, the student's process."""
