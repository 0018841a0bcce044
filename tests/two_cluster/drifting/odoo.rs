//! What Odoo does to its tables when modules are installed, recorded.

use super::{LIMIT, builder, settled};
use crate::harness::Samples;
use std::time::Duration;

const VIEWS: [&str; 5] = [
    "v_invoice_summary",
    "v_expense_summary",
    "v_task_summary",
    "v_revenue_by_partner",
    "v_expense_by_employee",
];

#[test]
fn odoos_own_schema_changes_are_followed_to_the_last_row() {
    let Some(samples) = Samples::find() else { return };
    // At once, and with time for the mirror to see each step.
    for pause in [0, 30] {
        let pair = builder().start();
        samples.load(&pair.source, "odoo", 18);
        pair.publish_all();
        pair.configure_and_start();
        pair.wait_ready(LIMIT);
        let (settings, transactions) = samples.traffic("drift-18");
        let mut session = pair.source.connect("odoo");
        session.batch_execute(&settings).expect("the source takes the settings");
        for transaction in &transactions {
            session.batch_execute(&transaction.sql).expect("the source takes the recording");
            std::thread::sleep(Duration::from_millis(pause));
        }
        settled(&pair);
        pair.assert_all_equal();
        assert_eq!(
            pair.mirror_value("SELECT count(*) FROM odoo_mirror.tables() WHERE state <> 'ready'"),
            "0"
        );
        for view in VIEWS {
            assert_ne!(pair.mirror_value(&format!("SELECT count(*) FROM odoo_mirror.{view}")), "0", "{view}");
        }
        assert_ne!(pair.mirror_value("SELECT count(*) FROM odoo_mirror.ddl_history()"), "0");
    }
}
