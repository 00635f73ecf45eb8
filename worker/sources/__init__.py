"""Where the desired membership is kept: documents of several formats, read whole and with the place of every row."""
