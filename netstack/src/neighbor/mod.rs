//! ARP and neighbour states.
