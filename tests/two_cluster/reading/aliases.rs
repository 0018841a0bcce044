//! The REST aliases: names with a dot in them, for service_role alone.

use super::{all_ten, generated};
use crate::harness::explain;

#[test]
fn aliases_answer_service_role_alone_and_go_without_a_trace() {
    let pair = generated(&all_ten());
    let refused =
        pair.mirror.try_sql("mirror", "SELECT odoo_mirror.install_rest_aliases()").expect_err("no such role");
    assert!(explain(&refused).contains("CREATE ROLE service_role"));
    pair.on_mirror("CREATE ROLE anon; CREATE ROLE service_role BYPASSRLS; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon");
    pair.on_mirror("SELECT odoo_mirror.install_rest_aliases()");
    pair.on_mirror("SELECT odoo_mirror.install_rest_aliases()");
    for sql in [
        "SELECT count(*) FROM public.\"odoo_mirror.v_invoice_summary\"",
        "SELECT count(*) FROM public.\"odoo_mirror.get_pending_expenses\"(p_limit => 3)",
    ] {
        assert_ne!(
            pair.mirror_value(
                &format!("SET ROLE service_role; {sql}").replace("SET ROLE service_role; ", "")
            ),
            "0"
        );
        pair.on_mirror(&format!("SET ROLE service_role; {sql}"));
        let refused =
            pair.mirror.try_sql("mirror", &format!("SET ROLE anon; {sql}")).expect_err("anon reads nothing");
        assert!(explain(&refused).contains("permission denied"));
    }
    assert_eq!(
        pair.mirror_value("SELECT string_agg(a::text, ',' ORDER BY a) FROM (SELECT \"odoo_mirror.get_overdue_tasks\"(5) AS a) x"),
        pair.mirror_value("SELECT string_agg(a::text, ',' ORDER BY a) FROM (SELECT odoo_mirror.get_overdue_tasks(5) AS a) x")
    );
    pair.on_mirror("SELECT odoo_mirror.remove_rest_aliases()");
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'odoo\\_mirror.%' AND relnamespace = 'public'::regnamespace";
    assert_eq!(pair.mirror_value(left), "0");
    // Somebody's own is left alone.
    pair.on_mirror("CREATE VIEW public.\"odoo_mirror.v_task_summary\" AS SELECT 1 AS one");
    let refused = pair
        .mirror
        .try_sql("mirror", "SELECT odoo_mirror.install_rest_aliases()")
        .expect_err("it is somebody's");
    assert!(explain(&refused).contains("is not ours"));
    pair.on_mirror("DROP VIEW public.\"odoo_mirror.v_task_summary\"; SELECT odoo_mirror.install_rest_aliases(); DROP EXTENSION odoo_mirror");
}
