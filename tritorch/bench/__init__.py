"""What `tritorch bench` does: cases of a suite, timed for this library and another one in one process, turn by turn.

case.py says what a case is, suites/ has them, stopwatch.py times, peer.py is the other library, precision.py has both
sides multiply equally, and measure.py makes the row of a case.
"""
