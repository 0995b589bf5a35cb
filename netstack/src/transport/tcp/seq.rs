//! Sequence numbers: 32 bits, compared modulo 2^32 (RFC 9293, section 3.4).

use core::ops::{Add, AddAssign, Sub};

/// A sequence number. Not `Ord`: the order is circular, and only meaningful within 2^31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seq(pub(crate) u32);

impl Seq {
    /// True if `self` comes strictly before `other`.
    pub(crate) const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// True if `self` comes strictly after `other`.
    pub(crate) const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// True if `self` is `other` or comes before it.
    pub(crate) const fn at_or_before(self, other: Self) -> bool {
        !self.after(other)
    }

    /// True if `self` is `other` or comes after it.
    pub(crate) const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// True if `low <= self <= high`.
    pub(crate) const fn within(self, low: Self, high: Self) -> bool {
        high.0.wrapping_sub(low.0) >= self.0.wrapping_sub(low.0)
    }

    /// The later of the two.
    pub(crate) const fn max(self, other: Self) -> Self {
        if self.after(other) { self } else { other }
    }

    /// The earlier of the two.
    pub(crate) const fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

impl Seq {
    /// The order of two numbers that lie within 2^31 of each other.
    pub(crate) const fn cmp_near(self, other: Self) -> core::cmp::Ordering {
        match self.0.wrapping_sub(other.0) as i32 {
            0 => core::cmp::Ordering::Equal,
            ..0 => core::cmp::Ordering::Less,
            _ => core::cmp::Ordering::Greater,
        }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, rhs: u32) -> Self {
        Self(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, rhs: u32) -> Self {
        Self(self.0.wrapping_sub(rhs))
    }
}

impl Sub for Seq {
    type Output = u32;

    /// Bytes from `rhs` up to `self`, modulo 2^32.
    fn sub(self, rhs: Self) -> u32 {
        self.0.wrapping_sub(rhs.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps() {
        let (low, high) = (Seq(u32::MAX - 1), Seq(3));
        assert!(low.before(high) && high.after(low));
        assert!(Seq(0).within(low, high) && !Seq(4).within(low, high));
        assert_eq!(high - low, 5);
        assert_eq!(low.max(high), high);
        assert_eq!(low.min(high), low);
    }
}
