//! The gate before each start: is the source, and our slot on it, what the mirror stands on?
//!
//! START_REPLICATION silently begins at the slot's confirmed position when asked for an older one, so what was
//! lost must be found here. Pure: facts in, verdict out.

use crate::wire::Lsn;

/// What the mirror remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub system_identifier: String,
    pub database: String,
    /// How far the mirror is, durably.
    pub applied: Lsn,
}

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub system_identifier: String,
    pub database: String,
    /// How far the source's WAL is written.
    pub flushed: Lsn,
    pub slot: Option<FoundSlot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSlot {
    pub plugin: String,
    pub database: String,
    pub confirmed: Option<Lsn>,
    pub lost: bool,
}

/// Why the stream can't simply go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is another server than the one that the mirror was made from")]
    OtherServer,
    #[error("the mirror was made from database \"{0}\", and this is another")]
    OtherDatabase(String),
    #[error(
        "the mirror stands on replication slot \"{was}\", not on \"{is}\"; the other one keeps WAL on the source until it is dropped there"
    )]
    OtherSlot { was: String, is: String },
    #[error("the replication slot is gone")]
    SlotGone,
    #[error("the replication slot was lost: the source removed WAL that it still needed")]
    SlotLost,
    #[error("the replication slot is not the mirror's: it was made for another plugin or database")]
    NotOurSlot,
    #[error("the replication slot was moved to {confirmed}, past {applied} where the mirror stands")]
    SlotAhead { confirmed: Lsn, applied: Lsn },
    #[error("the source went back to {flushed}, before {applied} where the mirror stands")]
    SourceBehind { flushed: Lsn, applied: Lsn },
}

/// Lets the stream go on, or says why not.
pub fn check(remembered: &Remembered, found: &Found) -> Result<(), Refusal> {
    if remembered.system_identifier != found.system_identifier {
        return Err(Refusal::OtherServer);
    }
    if remembered.database != found.database {
        return Err(Refusal::OtherDatabase(remembered.database.clone()));
    }
    let slot = found.slot.as_ref().ok_or(Refusal::SlotGone)?;
    if slot.plugin != "pgoutput" || slot.database != found.database {
        return Err(Refusal::NotOurSlot);
    }
    if slot.lost {
        return Err(Refusal::SlotLost);
    }
    let applied = remembered.applied;
    match slot.confirmed {
        Some(confirmed) if confirmed > applied => return Err(Refusal::SlotAhead { confirmed, applied }),
        None => return Err(Refusal::SlotLost),
        Some(_) => {}
    }
    if applied > found.flushed {
        return Err(Refusal::SourceBehind { flushed: found.flushed, applied });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered { system_identifier: "7".into(), database: "odoo".into(), applied: Lsn(100) }
    }

    fn found() -> Found {
        let slot = FoundSlot {
            plugin: "pgoutput".into(),
            database: "odoo".into(),
            confirmed: Some(Lsn(90)),
            lost: false,
        };
        Found { system_identifier: "7".into(), database: "odoo".into(), flushed: Lsn(120), slot: Some(slot) }
    }

    fn with_slot(change: impl FnOnce(&mut FoundSlot)) -> Found {
        let mut found = found();
        found.slot.iter_mut().for_each(change_once(change));
        found
    }

    fn change_once(change: impl FnOnce(&mut FoundSlot)) -> impl FnMut(&mut FoundSlot) {
        let mut change = Some(change);
        move |slot| {
            if let Some(change) = change.take() {
                change(slot);
            }
        }
    }

    #[test]
    fn an_unchanged_source_is_let_through() {
        assert_eq!(check(&remembered(), &found()), Ok(()));
        let level = with_slot(|slot| slot.confirmed = Some(Lsn(100)));
        assert_eq!(check(&remembered(), &level), Ok(()));
    }

    #[test]
    fn each_loss_is_told_from_the_others() {
        let refusal = |found: &Found| check(&remembered(), found).unwrap_err();
        assert_eq!(refusal(&Found { system_identifier: "8".into(), ..found() }), Refusal::OtherServer);
        assert_eq!(
            refusal(&Found { database: "o2".into(), ..found() }),
            Refusal::OtherDatabase("odoo".into())
        );
        assert_eq!(refusal(&Found { slot: None, ..found() }), Refusal::SlotGone);
        assert_eq!(refusal(&with_slot(|slot| slot.lost = true)), Refusal::SlotLost);
        assert_eq!(refusal(&with_slot(|slot| slot.plugin = "wal2json".into())), Refusal::NotOurSlot);
        let ahead = with_slot(|slot| slot.confirmed = Some(Lsn(101)));
        assert_eq!(refusal(&ahead), Refusal::SlotAhead { confirmed: Lsn(101), applied: Lsn(100) });
        let behind = Found { flushed: Lsn(99), ..found() };
        assert_eq!(refusal(&behind), Refusal::SourceBehind { flushed: Lsn(99), applied: Lsn(100) });
    }
}
