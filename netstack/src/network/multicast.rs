//! Which sources of a group are wanted: by one socket, and by all of an interface together
//! (RFC 3376 section 3.2, RFC 3810 section 4.2).

use std::collections::BTreeMap;
use std::net::IpAddr;

/// How a list of sources is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterMode {
    /// MCAST_INCLUDE: these only.
    Include,
    /// MCAST_EXCLUDE: all but these.
    Exclude,
}

/// The sources of a group that somebody wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFilter {
    /// How the list is meant.
    pub mode: FilterMode,
    /// In order, each once.
    pub sources: Vec<IpAddr>,
}

impl SourceFilter {
    /// Every source.
    pub const ALL: Self = Self {
        mode: FilterMode::Exclude,
        sources: Vec::new(),
    };
    /// No source: who wants this is no member.
    pub const NONE: Self = Self {
        mode: FilterMode::Include,
        sources: Vec::new(),
    };

    /// A filter of sources in any order.
    pub fn new(mode: FilterMode, mut sources: Vec<IpAddr>) -> Self {
        sources.sort_unstable();
        sources.dedup();
        Self { mode, sources }
    }

    /// True if packets of `source` are wanted.
    pub fn allows(&self, source: IpAddr) -> bool {
        self.names(source) == (self.mode == FilterMode::Include)
    }

    /// True if the source is in the list.
    pub(crate) fn names(&self, source: IpAddr) -> bool {
        self.sources.binary_search(&source).is_ok()
    }

    /// Puts a source into the list; false if it is there.
    pub(crate) fn insert(&mut self, source: IpAddr) -> bool {
        match self.sources.binary_search(&source) {
            Ok(_) => false,
            Err(at) => {
                self.sources.insert(at, source);
                true
            }
        }
    }

    /// Takes a source from the list; false if it is not there.
    pub(crate) fn remove(&mut self, source: IpAddr) -> bool {
        match self.sources.binary_search(&source) {
            Ok(at) => {
                self.sources.remove(at);
                true
            }
            Err(_) => false,
        }
    }
}

/// The filters of all who are members of one group, counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interest {
    /// How many of them exclude.
    exclude: u32,
    /// How many include and how many exclude a source.
    sources: BTreeMap<IpAddr, [u32; 2]>,
}

impl Interest {
    /// Somebody becomes a member with this filter.
    pub(crate) fn add(&mut self, filter: &SourceFilter) {
        self.exclude += u32::from(filter.mode == FilterMode::Exclude);
        for source in &filter.sources {
            self.sources.entry(*source).or_default()[filter.mode as usize] += 1;
        }
    }

    /// Somebody who had this filter is a member no more.
    pub(crate) fn remove(&mut self, filter: &SourceFilter) {
        self.exclude -= u32::from(filter.mode == FilterMode::Exclude);
        for source in &filter.sources {
            if let Some(counts) = self.sources.get_mut(source) {
                counts[filter.mode as usize] -= 1;
                if *counts == [0, 0] {
                    self.sources.remove(source);
                }
            }
        }
    }

    /// True if packets of `source` are wanted by one of them at least.
    pub(crate) fn allows(&self, source: IpAddr) -> bool {
        match self.sources.get(&source) {
            Some([include, exclude]) => *include > 0 || *exclude < self.exclude,
            None => self.exclude > 0,
        }
    }

    /// What all of them together want.
    pub(crate) fn filter(&self) -> SourceFilter {
        let mode = match self.exclude {
            0 => FilterMode::Include,
            _ => FilterMode::Exclude,
        };
        let listed = |counts: &[u32; 2]| match mode {
            FilterMode::Include => counts[0] > 0,
            FilterMode::Exclude => counts[0] == 0 && counts[1] == self.exclude,
        };
        let chosen = self.sources.iter().filter(|(_, counts)| listed(counts));
        SourceFilter {
            mode,
            sources: chosen.map(|(source, _)| *source).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn any_filter() -> impl Strategy<Value = SourceFilter> {
        let sources = proptest::collection::vec(0_u8..6, 0..6);
        (any::<bool>(), sources).prop_map(|(include, sources)| {
            let mode = match include {
                true => FilterMode::Include,
                false => FilterMode::Exclude,
            };
            SourceFilter::new(mode, sources.into_iter().map(source).collect())
        })
    }

    proptest! {
        #[test]
        fn a_source_is_wanted_if_somebody_wants_it(
            steps in proptest::collection::vec((any_filter(), any::<bool>(), any::<usize>()), 0..40)
        ) {
            let (mut interest, mut members) = (Interest::default(), Vec::<SourceFilter>::new());
            for (filter, leaves, pick) in steps {
                if leaves && !members.is_empty() {
                    let gone = members.swap_remove(pick % members.len());
                    interest.remove(&gone);
                } else {
                    interest.add(&filter);
                    members.push(filter);
                }
                let merged = interest.filter();
                for n in 0..8 {
                    let wanted = members.iter().any(|filter| filter.allows(source(n)));
                    prop_assert_eq!(interest.allows(source(n)), wanted);
                    prop_assert_eq!(merged.allows(source(n)), wanted);
                }
                let excludes = members.iter().any(|filter| filter.mode == FilterMode::Exclude);
                prop_assert_eq!(merged.mode == FilterMode::Exclude, excludes);
            }
        }
    }

    #[test]
    fn lists_hold_each_source_once() {
        let mut filter =
            SourceFilter::new(FilterMode::Include, vec![source(2), source(1), source(2)]);
        assert_eq!(filter.sources, [source(1), source(2)]);
        assert!(!filter.insert(source(1)) && filter.insert(source(3)));
        assert!(filter.remove(source(2)) && !filter.remove(source(2)));
        assert_eq!(filter.sources, [source(1), source(3)]);
    }
}
