use odoo_mirror::wire::{Lsn, ParseLsnError};
use proptest::prelude::*;

proptest! {
    #[test]
    fn an_lsn_survives_being_written_and_read(position: u64) {
        prop_assert_eq!(Lsn(position).to_string().parse(), Ok(Lsn(position)));
    }

    #[test]
    fn the_end_position_is_at_most_one_page_header_back(position: u64) {
        let end = Lsn(position).as_end_position();
        prop_assert!(matches!(position - end.0, 0 | 24 | 40));
    }
}

#[test]
fn an_lsn_is_written_as_postgresql_writes_it() {
    assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
    assert_eq!(format!("{:?}", Lsn::ZERO), "0/0");
    assert!(Lsn::ZERO.is_zero() && !Lsn(1).is_zero());
}

#[test]
fn what_is_not_an_lsn_is_refused() {
    for text in
        ["", "/", "0", "0/", "/0", "0/0/0", "+1/0", "0/-1", " 0/0", "g/0", "123456789/0", "0/000000000"]
    {
        assert_eq!(text.parse::<Lsn>(), Err(ParseLsnError), "{text:?}");
    }
    assert_eq!("ffffffff/FFFFFFFF".parse(), Ok(Lsn(u64::MAX)));
}

#[test]
fn an_insert_position_past_a_page_header_ends_at_the_page() {
    assert_eq!(Lsn(0x0300_2018).as_end_position(), Lsn(0x0300_2000));
    assert_eq!(Lsn(0x0300_0028).as_end_position(), Lsn(0x0300_0000));
}

#[test]
fn any_other_insert_position_is_where_the_last_record_ended() {
    for position in [0x0300_2000, 0x0300_2020, 0x0300_2028, 0x0300_2030, 0x0300_3FF8, 0x0300_0030] {
        assert_eq!(Lsn(position).as_end_position(), Lsn(position));
    }
}
