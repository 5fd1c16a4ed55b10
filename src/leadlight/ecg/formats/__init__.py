"""One file per format, all giving a `Recording`; `read_recording` picks the reader."""
