"""The files through which a calibration and its process speak."""

JOB = "job.json"
MEASURED = "measured.json"
ERROR = "error.txt"
