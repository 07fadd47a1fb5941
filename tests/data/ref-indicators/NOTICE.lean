The files in lean/ are test data of LEAN, QuantConnect's algorithmic trading engine
(https://github.com/QuantConnect/Lean, commit 24863901deff, folder Tests/TestData), unchanged but for
gzip. Copyright QuantConnect Corporation. Licensed under the Apache License, Version 2.0, of which the
file LICENSE at the top of this repository is a copy.
