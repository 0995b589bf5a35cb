//! Runs packetdrill scripts over netstack in virtual time.
