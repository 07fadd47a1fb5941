"""What venues say and how to say it: pure codecs, and the paper venue's machine."""
