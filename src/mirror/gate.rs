//! The gate before each start: is the source, and our slot on it, what the mirror stands on? If
//! not, what cures it?
//!
//! START_REPLICATION silently begins at the slot's confirmed position when asked for an older one,
//! so what was lost must be found here. Pure: facts in, verdict out.

use super::timeline::History;
use crate::wire::Lsn;

/// What the mirror remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    pub system_identifier: String,
    pub database_oid: u32,
    pub timeline: u32,
    /// Where configure() said that the source is: hosts, ports, database.
    pub address: String,
    pub slot: String,
    /// How far the mirror is, durably.
    pub applied: Lsn,
}

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub system_identifier: String,
    pub database_oid: u32,
    pub database: String,
    pub timeline: u32,
    /// How the source came to its timeline; unknown (empty) where it can't tell.
    pub history: History,
    /// Where configure() says that the source is.
    pub address: String,
    /// How far the source's WAL is written.
    pub flushed: Lsn,
    pub slot_name: String,
    pub slot: Option<FoundSlot>,
    /// Somebody else was seen reading the slot lately.
    pub contested: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSlot {
    pub plugin: String,
    pub database: String,
    pub confirmed: Option<Lsn>,
    /// Why it is of no use any more.
    pub lost: Option<Loss>,
    /// Bytes of WAL that the source keeps for it.
    pub retained: Option<i64>,
}

/// Why a slot is of no use any more: the server's reasons, each with the setting that it comes
/// from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    #[error("the source removed WAL that it still needed, as max_slot_wal_keep_size allows")]
    WalRemoved,
    #[error(
        "the source, which was a standby then, removed rows of its catalogs that it still needed (hot_standby_feedback was off)"
    )]
    RowsRemoved,
    #[error("the source ran for a time with a wal_level that is not logical")]
    WalLevel,
    #[error("nobody read it for longer than idle_replication_slot_timeout of the source allows")]
    Idle,
    #[error("its making was broken off")]
    Unfinished,
    #[error("the source invalidated it ({0})")]
    Other(String),
}

impl Loss {
    /// From pg_replication_slots' `invalidation_reason`, or `conflicting` of 16, which says no
    /// more.
    pub fn of(reason: &str) -> Loss {
        match reason {
            "wal_removed" => Loss::WalRemoved,
            "rows_removed" => Loss::RowsRemoved,
            "wal_level_insufficient" => Loss::WalLevel,
            "idle_timeout" => Loss::Idle,
            other => Loss::Other(other.to_owned()),
        }
    }
}

/// Why the stream can't simply go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("this is another server than the one that the mirror was made from")]
    OtherServer,
    #[error("the mirror was made from another database than this \"{0}\"")]
    OtherDatabase(String),
    #[error("the mirror stands on replication slot \"{was}\", not on \"{is}\"")]
    OtherSlot { was: String, is: String },
    #[error("the replication slot is gone")]
    SlotGone,
    #[error(
        "the source was failed over (timeline {is} after {was}) to a server that lacks the replication slot"
    )]
    FailedOver { was: u32, is: u32 },
    #[error("the replication slot was lost: {0}")]
    SlotLost(Loss),
    #[error("the replication slot is not the mirror's: it was made for another plugin or database")]
    NotOurSlot,
    #[error("the replication slot was moved to {confirmed}, past {applied} where the mirror stands")]
    SlotAhead { confirmed: Lsn, applied: Lsn },
    #[error("the source went back to {flushed}, before {applied} where the mirror stands")]
    SourceBehind { flushed: Lsn, applied: Lsn },
    #[error(
        "the source went back to {left}, before {applied} where the mirror stands, and began timeline {is} there"
    )]
    LeftBefore { left: Lsn, applied: Lsn, is: u32 },
    #[error("the source is on timeline {is}, which did not come from timeline {was} that the mirror knows")]
    OtherHistory { was: u32, is: u32 },
    #[error(
        "the replication slot kept {kept} MB of WAL on the source, more than odoo_mirror.give_up_slot_at ({limit} MB)"
    )]
    TooMuchWal { kept: i64, limit: i64 },
    /// Noted by an earlier life, in its words.
    #[error("{0}")]
    Noted(String),
}

/// What makes the mirror equal to its source again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// A new slot, and every table compared with the source's.
    NewSlot,
    /// The same, if the source has the tables that are mirrored, with the same keys; else only when
    /// asked for.
    NewSlotIfAlike,
    /// The same, when somebody says that this is meant: all rows here may give way.
    WhenAsked,
    /// Nothing of ours: somebody else's slot is in the way.
    AnotherName,
}

impl Refusal {
    /// A mirror is told where its source is by configure(). What changes there is the source's own
    /// story, and is followed. That configure() names another place may be a slip (a staging copy
    /// has the same tables, and one made of files the same identifier), and is asked about, unless
    /// what is there provably comes from where the mirror stands.
    pub fn cure(&self, remembered: &Remembered, found: &Found) -> Cure {
        match self {
            Refusal::FailedOver { .. } => Cure::NewSlot,
            _ if remembered.address != found.address => Cure::WhenAsked,
            Refusal::OtherServer | Refusal::OtherDatabase(_) => Cure::NewSlotIfAlike,
            // Another mirror moved it, a clone of this one perhaps: two that heal would take it
            // from each other for ever.
            Refusal::SlotAhead { .. } if found.contested => Cure::AnotherName,
            Refusal::NotOurSlot => Cure::AnotherName,
            // Under a name that configure() was given anew stands a slot that this mirror never
            // made.
            Refusal::OtherSlot { .. } if found.slot.is_some() => Cure::AnotherName,
            _ => Cure::NewSlot,
        }
    }
}

/// Lets the stream go on, or says why not. `give_up_at`: the most megabytes of WAL that the slot
/// may keep.
pub fn check(remembered: &Remembered, found: &Found, give_up_at: Option<i64>) -> Result<(), Refusal> {
    if remembered.system_identifier != found.system_identifier {
        return Err(Refusal::OtherServer);
    }
    if remembered.database_oid != found.database_oid {
        return Err(Refusal::OtherDatabase(found.database.clone()));
    }
    if remembered.slot != found.slot_name {
        return Err(Refusal::OtherSlot { was: remembered.slot.clone(), is: found.slot_name.clone() });
    }
    let applied = remembered.applied;
    let (was, is) = (remembered.timeline, found.timeline);
    if was != is {
        match found.history.left(was) {
            None => return Err(Refusal::OtherHistory { was, is }),
            Some(left) if applied > left => return Err(Refusal::LeftBefore { left, applied, is }),
            Some(_) if found.slot.is_none() => return Err(Refusal::FailedOver { was, is }),
            Some(_) => {}
        }
    }
    let slot = found.slot.as_ref().ok_or(Refusal::SlotGone)?;
    if slot.plugin != "pgoutput" || slot.database != found.database {
        return Err(Refusal::NotOurSlot);
    }
    if let Some(loss) = &slot.lost {
        return Err(Refusal::SlotLost(loss.clone()));
    }
    match slot.confirmed {
        Some(confirmed) if confirmed > applied => return Err(Refusal::SlotAhead { confirmed, applied }),
        None => return Err(Refusal::SlotLost(Loss::Unfinished)),
        Some(_) => {}
    }
    if applied > found.flushed {
        return Err(Refusal::SourceBehind { flushed: found.flushed, applied });
    }
    too_much(slot.retained, give_up_at).map_or(Ok(()), Err)
}

/// Whether the slot keeps more WAL on the source than it may.
pub fn too_much(retained: Option<i64>, give_up_at: Option<i64>) -> Option<Refusal> {
    let (retained, limit) = (retained?, give_up_at?);
    let kept = retained / MEGABYTE;
    (retained > limit.saturating_mul(MEGABYTE)).then_some(Refusal::TooMuchWal { kept, limit })
}

const MEGABYTE: i64 = 1024 * 1024;

/// How long to wait after the slot was given up, in seconds, when that was the `times`th time
/// within a day: a cause that comes back must not make and drop slots all the time.
pub fn pause_after_giving_up(times: u32) -> u64 {
    match times {
        0 | 1 => 5,
        more => 60 << (more - 2).min(6),
    }
    .min(3_600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remembered() -> Remembered {
        Remembered {
            system_identifier: "7".into(),
            database_oid: 5,
            timeline: 1,
            address: "host=a".into(),
            slot: "s".into(),
            applied: Lsn(100),
        }
    }

    fn found() -> Found {
        let slot = FoundSlot {
            plugin: "pgoutput".into(),
            database: "odoo".into(),
            confirmed: Some(Lsn(90)),
            lost: None,
            retained: Some(30),
        };
        Found {
            system_identifier: "7".into(),
            database: "odoo".into(),
            database_oid: 5,
            timeline: 1,
            history: History::default(),
            address: "host=a".into(),
            flushed: Lsn(120),
            slot_name: "s".into(),
            slot: Some(slot),
            contested: false,
        }
    }

    fn with_slot(change: impl FnOnce(&mut FoundSlot)) -> Found {
        let mut found = found();
        if let Some(slot) = &mut found.slot {
            change(slot);
        }
        found
    }

    fn refusal(found: &Found) -> Refusal {
        check(&remembered(), found, None).expect_err("it is refused")
    }

    /// Timeline 1 was left at this position.
    fn failed_over_at(left: u64) -> Found {
        let history = History::parse(&format!("1\t0/{left:X}\tno recovery target specified\n"));
        Found { timeline: 2, history, ..found() }
    }

    #[test]
    fn an_unchanged_source_is_let_through() {
        assert_eq!(check(&remembered(), &found(), None), Ok(()));
        let level = with_slot(|slot| slot.confirmed = Some(Lsn(100)));
        assert_eq!(check(&remembered(), &level, None), Ok(()));
    }

    #[test]
    fn a_renamed_database_is_the_same() {
        let mut renamed = with_slot(|slot| slot.database = "o2".into());
        renamed.database = "o2".into();
        assert_eq!(check(&remembered(), &renamed, None), Ok(()));
    }

    #[test]
    fn each_loss_is_told_from_the_others() {
        assert_eq!(refusal(&Found { system_identifier: "8".into(), ..found() }), Refusal::OtherServer);
        assert_eq!(refusal(&Found { database_oid: 6, ..found() }), Refusal::OtherDatabase("odoo".into()));
        assert_eq!(
            refusal(&Found { slot_name: "t".into(), ..found() }),
            Refusal::OtherSlot { was: "s".into(), is: "t".into() }
        );
        assert_eq!(refusal(&Found { slot: None, ..found() }), Refusal::SlotGone);
        let lost = Refusal::SlotLost(Loss::WalRemoved);
        assert_eq!(refusal(&with_slot(|slot| slot.lost = Some(Loss::WalRemoved))), lost);
        assert_eq!(refusal(&with_slot(|slot| slot.plugin = "wal2json".into())), Refusal::NotOurSlot);
        let ahead = with_slot(|slot| slot.confirmed = Some(Lsn(101)));
        assert_eq!(refusal(&ahead), Refusal::SlotAhead { confirmed: Lsn(101), applied: Lsn(100) });
        let behind = Found { flushed: Lsn(99), ..found() };
        assert_eq!(refusal(&behind), Refusal::SourceBehind { flushed: Lsn(99), applied: Lsn(100) });
    }

    #[test]
    fn a_slot_is_ours_only_when_it_is_whole_and_of_this_database() {
        let elsewhere = with_slot(|slot| slot.database = "other".into());
        assert_eq!(refusal(&elsewhere), Refusal::NotOurSlot);
        let unfinished = with_slot(|slot| slot.confirmed = None);
        assert_eq!(refusal(&unfinished), Refusal::SlotLost(Loss::Unfinished));
    }

    #[test]
    fn a_source_that_wrote_nothing_more_is_let_through() {
        assert_eq!(check(&remembered(), &Found { flushed: Lsn(100), ..found() }, None), Ok(()));
    }

    #[test]
    fn each_reason_for_which_a_slot_is_invalidated_is_told_with_its_setting() {
        for (reason, setting) in [
            ("wal_removed", "max_slot_wal_keep_size"),
            ("rows_removed", "hot_standby_feedback"),
            ("wal_level_insufficient", "wal_level"),
            ("idle_timeout", "idle_replication_slot_timeout"),
            ("conflicting", "(conflicting)"),
            ("one of a later version", "(one of a later version)"),
        ] {
            let told = refusal(&with_slot(|slot| slot.lost = Some(Loss::of(reason)))).to_string();
            assert!(told.starts_with("the replication slot was lost: ") && told.contains(setting), "{told}");
            assert_eq!(told.contains("removed WAL"), reason == "wal_removed", "{told}");
        }
    }

    #[test]
    fn after_a_failover_the_history_decides() {
        assert_eq!(check(&remembered(), &failed_over_at(100), None), Ok(()));
        let left = Refusal::LeftBefore { left: Lsn(99), applied: Lsn(100), is: 2 };
        assert_eq!(refusal(&failed_over_at(99)), left);
        let gone = Found { slot: None, ..failed_over_at(100) };
        assert_eq!(refusal(&gone), Refusal::FailedOver { was: 1, is: 2 });
        // Back on an older timeline, or on a sister of ours: nothing says that our part is in it.
        let remembered = Remembered { timeline: 3, ..remembered() };
        let other = Refusal::OtherHistory { was: 3, is: 2 };
        assert_eq!(check(&remembered, &failed_over_at(100), None), Err(other));
    }

    #[test]
    fn a_slot_that_keeps_too_much_is_given_up_only_where_a_limit_is_set() {
        let full = with_slot(|slot| slot.retained = Some(11 * MEGABYTE));
        assert_eq!(check(&remembered(), &full, None), Ok(()));
        assert_eq!(check(&remembered(), &full, Some(11)), Ok(()));
        let too_much = Refusal::TooMuchWal { kept: 11, limit: 10 };
        assert_eq!(check(&remembered(), &full, Some(10)), Err(too_much));
    }

    #[test]
    fn what_happens_to_the_source_is_followed_and_what_configure_may_have_got_wrong_is_asked() {
        let elsewhere = Found { address: "host=b".into(), ..found() };
        for refusal in [Refusal::OtherServer, Refusal::OtherDatabase("odoo".into())] {
            assert_eq!(refusal.cure(&remembered(), &found()), Cure::NewSlotIfAlike);
            assert_eq!(refusal.cure(&remembered(), &elsewhere), Cure::WhenAsked);
        }
        assert_eq!(Refusal::NotOurSlot.cure(&remembered(), &found()), Cure::AnotherName);
        let other = Refusal::OtherSlot { was: "s".into(), is: "t".into() };
        assert_eq!(other.cure(&remembered(), &found()), Cure::AnotherName);
        assert_eq!(other.cure(&remembered(), &Found { slot: None, ..found() }), Cure::NewSlot);
        assert_eq!(Refusal::SlotGone.cure(&remembered(), &found()), Cure::NewSlot);
        assert_eq!(Refusal::SlotGone.cure(&remembered(), &elsewhere), Cure::WhenAsked);
        assert_eq!(Refusal::FailedOver { was: 1, is: 2 }.cure(&remembered(), &elsewhere), Cure::NewSlot);
        let ahead = Refusal::SlotAhead { confirmed: Lsn(101), applied: Lsn(100) };
        assert_eq!(ahead.cure(&remembered(), &found()), Cure::NewSlot);
        assert_eq!(ahead.cure(&remembered(), &Found { contested: true, ..found() }), Cure::AnotherName);
    }

    #[test]
    fn a_cause_that_comes_back_is_given_more_time_each_time() {
        assert_eq!([1, 2, 3, 4].map(pause_after_giving_up), [5, 60, 120, 240]);
        assert_eq!(pause_after_giving_up(50), 3_600);
    }
}
