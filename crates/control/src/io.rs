//! What waits, opens files and reads the clock.
