"""What a record is labelled with."""

CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")
NORMAL = "NORM"
