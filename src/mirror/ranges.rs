//! placeholder until the catalog branch lands
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange { pub lo: Option<i64>, pub hi: Option<i64> }
impl KeyRange { pub fn contains(&self, key: i64) -> bool { self.lo.is_none_or(|lo| key >= lo) && self.hi.is_none_or(|hi| key < hi) } }
