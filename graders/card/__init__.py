"""What a check says: the facts of a failure, its words, the sheet of a check cell, the card."""
